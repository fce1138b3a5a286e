/*-------------------------------------------------------------------------
 *
 * skew.c
 *	  A library to preload into a server: moves its wall clock.
 *
 * NOTES
 *	  For tests only.  The file that SKEW_FILE names holds one int64 in the
 *	  byte order of the machine, microseconds that are added to every reading
 *	  of the wall clock.  It is mapped, so that a test moves the clock of a
 *	  running server by writing to the file.  Monotonic clocks are left alone.
 *	  libfaketime does not reach the background workers of PostgreSQL 15.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *offset_us = NULL;

/* Map the file when the library is loaded. */
__attribute__((constructor)) static void
map_file(void)
{
	const char *path = getenv("SKEW_FILE");
	int			fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void	   *map;

	if (fd < 0)
		return;
	map = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (map != MAP_FAILED)
		offset_us = map;
}

int
clock_gettime(clockid_t clock, struct timespec *ts)
{
	int			rc = (int) syscall(SYS_clock_gettime, clock, ts);

	if (rc == 0 && offset_us &&
		(clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
	{
		int64_t		ns = (int64_t) ts->tv_sec * 1000000000 + ts->tv_nsec +
		*offset_us * 1000;

		ts->tv_sec = ns / 1000000000;
		ts->tv_nsec = ns % 1000000000;
	}
	return rc;
}

int
gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	struct timespec ts;

	(void) zone;
	if (clock_gettime(CLOCK_REALTIME, &ts) != 0)
		return -1;
	tv->tv_sec = ts.tv_sec;
	tv->tv_usec = ts.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *result)
{
	struct timespec ts;

	if (clock_gettime(CLOCK_REALTIME, &ts) != 0)
		return -1;
	if (result)
		*result = ts.tv_sec;
	return ts.tv_sec;
}
