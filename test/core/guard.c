/*-------------------------------------------------------------------------
 *
 * guard.c
 *	  Memory whose next byte cannot be read.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include <sys/mman.h>
#include <unistd.h>

#include "guard.h"

/* Copy bytes in front of the page that cannot be read. */
char *
guarded(const char *data, uint32 len)
{
	static char *end = NULL;

	if (end == NULL)
	{
		size_t		page = (size_t) sysconf(_SC_PAGESIZE);
		char	   *start = mmap(NULL, GUARD_BYTES + page, PROT_READ | PROT_WRITE,
								 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (start == MAP_FAILED ||
			mprotect(start + GUARD_BYTES, page, PROT_NONE) != 0)
		{
			printf("Bail out! could not get guarded memory: %s\n", strerror(errno));
			exit(1);
		}
		end = start + GUARD_BYTES;
	}
	if (len > 0)
		memcpy(end - len, data, len);
	return end - len;
}
