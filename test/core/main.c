/*-------------------------------------------------------------------------
 *
 * main.c
 *	  Tests of src/core that need no server: core_test [seed [seconds]].
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include <time.h>

#include "tap.h"
#include "tests.h"

extern const char *__asan_default_options(void);

/* The program frees nothing before its end: that is no error. */
const char *
__asan_default_options(void)
{
	return "detect_leaks=0";
}

/* Run all tests; the exit status says whether they have passed. */
int
main(int argc, char **argv)
{
	unsigned int seed = (unsigned int) time(NULL);
	int			seconds = 10;

	if (argc > 1)
		seed = (unsigned int) strtoul(argv[1], NULL, 10);
	if (argc > 2)
		seconds = atoi(argv[2]);
	test_wire();
	test_pack();
	test_image();
	test_jsonb();
	test_pace();
	test_fuzz(seed, seconds);
	return done_testing();
}
