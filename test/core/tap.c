/*-------------------------------------------------------------------------
 *
 * tap.c
 *	  Test results in the format that prove reads.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include "tap.h"

static int	tests_run = 0;
static int	tests_failed = 0;

/* Report one test. */
bool
ok(bool passed, const char *format,...)
{
	va_list		args;

	tests_run++;
	if (!passed)
		tests_failed++;
	printf("%s %d - ", passed ? "ok" : "not ok", tests_run);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	return passed;
}

/* Report a test that expects no problem. */
bool
sound(const char *problem, const char *name)
{
	bool		passed = ok(problem == NULL, "accepted: %s", name);

	if (!passed)
		diag("problem: %s", problem);
	return passed;
}

/* Report a test that expects a certain problem. */
bool
unsound(const char *problem, const char *expected, const char *name)
{
	bool		passed = ok(problem != NULL && strcmp(problem, expected) == 0,
							"refused: %s", name);

	if (!passed)
	{
		diag("expected: %s", expected);
		diag("     got: %s", problem ? problem : "(accepted)");
	}
	return passed;
}

/* Print a remark. */
void
diag(const char *format,...)
{
	va_list		args;

	printf("# ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
}

/* Print the plan and what has failed. */
int
done_testing(void)
{
	printf("1..%d\n", tests_run);
	if (tests_failed > 0)
		diag("%d of %d tests failed", tests_failed, tests_run);
	return tests_failed > 0 ? 1 : 0;
}
