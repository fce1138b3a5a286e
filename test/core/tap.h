/*-------------------------------------------------------------------------
 *
 * tap.h
 *	  Test results in the format that prove reads.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TAP_H
#define TAP_H

/* Report a test; returns whether it has passed. */
extern bool ok(bool passed, const char *format,...) pg_attribute_printf(2, 3);

/* Report a test of a function that returns NULL or a problem. */
extern bool sound(const char *problem, const char *name);
extern bool unsound(const char *problem, const char *expected,
					const char *name);

/* A remark. */
extern void diag(const char *format,...) pg_attribute_printf(1, 2);

/* Print the plan; returns the exit status. */
extern int	done_testing(void);

#endif							/* TAP_H */
