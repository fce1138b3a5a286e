/*-------------------------------------------------------------------------
 *
 * tests.h
 *	  The parts of the test program.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TESTS_H
#define TESTS_H

extern void test_wire(void);
extern void test_pack(void);
extern void test_image(void);
extern void test_jsonb(void);
extern void test_pace(void);

/* Random changes of frames, images and documents for so many seconds. */
extern void test_fuzz(unsigned int seed, int seconds);

#endif							/* TESTS_H */
