/*
 * chancery-verify(1) with one bit of a file turned, for each of many bits.
 *
 * usage: turn FILE VERIFY-ARGUMENT...
 *
 * Reads numbers of bits of FILE from standard input and answers each with a
 * line `BIT STATUS`: the verifier's exit status, or 128 and the signal that
 * ended it. Each is judged by the verifier's own main() in a process of its
 * own that inherits which signatures hold. FILE is as before at the end.
 */

#include <fcntl.h>
#include <inttypes.h>
#include <sys/wait.h>

#include "tests/unit/verify_once.h"

int verify_main(int argc, char **argv);

#define main verify_main
#include "export/chancery-verify.c"
#undef main

static _Noreturn void
die(const char *what)
{
	perror(what);
	exit(3);
}

static void
turn(int fd, uint64_t bit)
{
	uint8_t byte;

	if (pread(fd, &byte, 1, (off_t)(bit / 8)) != 1)
		die("read");
	byte ^= (uint8_t)(1U << bit % 8);
	if (pwrite(fd, &byte, 1, (off_t)(bit / 8)) != 1)
		die("write");
}

static int
judge(int argc, char **argv)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		optind = 0; /* begins anew */
		_exit(verify_main(argc, argv));
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		die("process");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int
main(int argc, char **argv)
{
	uint64_t bit;
	FILE *out;
	int fd, n;

	fd = argc < 3 ? -1 : open(argv[1], O_RDWR | O_CLOEXEC);
	if (fd < 0)
		die("turn");
	/* What the verifier prints goes nowhere. */
	n = dup(STDOUT_FILENO);
	out = n < 0 ? NULL : fdopen(n, "w");
	if (out == NULL || freopen("/dev/null", "w", stdout) == NULL)
		die("output");
	if (verify_main(argc - 1, argv + 1) != 0) {
		fprintf(stderr, "turn: it does not hold as it is\n");
		return 3;
	}
	while ((n = scanf("%" SCNu64, &bit)) == 1) {
		turn(fd, bit);
		fprintf(
		    out, "%" PRIu64 " %d\n", bit, judge(argc - 1, argv + 1));
		turn(fd, bit);
		if (fflush(out) != 0)
			die("output");
	}
	return n == EOF && fclose(out) == 0 && close(fd) == 0 ? 0 : 3;
}
