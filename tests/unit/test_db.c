/*
 * Readers who may not write the index of the WAL, such as the engine beside
 * the keeper: SQLite tells them of a header that was being written by an
 * error, where others wait for it.
 */

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "compliance/evidence.h"
#include "compliance/ledger.h"

#include "journal_fixture.h"

#define NOBODY 65534
#define POSTS 300
/* Of the readers' marks in the index, behind its header's two copies. */
#define MARKS_AT 104
#define MARKS 4

static uint8_t *header;      /* of the index; two copies that must agree */
static unsigned naps, mends; /* taken; after so many it is whole again */
static void (*mend)(void);
static uint32_t marks[MARKS];

int __wrap_sqlite3_sleep(int ms);

int
__wrap_sqlite3_sleep(int ms)
{
	(void)ms;
	if (++naps == mends)
		mend();
	return ms;
}

static void
flip_header(void)
{
	header[8] ^= 1;
}

static void
break_header(unsigned until)
{
	naps = 0;
	mends = until;
	mend = flip_header;
	flip_header();
}

static void
restore_marks(void)
{
	memcpy(header + MARKS_AT, marks, sizeof marks);
}

/*
 * A reader that has just read the header may find all marks beyond it: the
 * keeper has committed and begun anew meanwhile, and moved its own.
 */
static void
move_marks(unsigned until)
{
	const uint32_t beyond[MARKS] = {
	    1000000, UINT32_MAX, UINT32_MAX, UINT32_MAX};

	naps = 0;
	mends = until;
	mend = restore_marks;
	memcpy(marks, header + MARKS_AT, sizeof marks);
	memcpy(header + MARKS_AT, beyond, sizeof beyond);
}

/* The keeper: has the journal open until it is let go. */
static void
keep_open(struct fixture *f, int ready, int go)
{
	char c;

	f->j = journal_open(f->path, &c, sizeof c);
	if (f->j == NULL)
		_exit(1);
	append_posts(f, POSTS);
	if (write(ready, "r", 1) != 1 || read(go, &c, 1) != 0)
		_exit(1);
	_exit(0);
}

struct rig {
	struct fixture f;
	pid_t keeper;
	int go;
};

static void
give_up_rights(struct rig *rig)
{
	char name[128];

	(void)snprintf(name, sizeof name, "%s-wal", rig->f.path);
	assert_int_equal(chmod(rig->f.dir, 0755), 0);
	assert_int_equal(chmod(rig->f.path, 0644), 0);
	assert_int_equal(chmod(name, 0644), 0);
	(void)snprintf(name, sizeof name, "%s-shm", rig->f.path);
	assert_int_equal(chmod(name, 0444), 0);
	if (geteuid() == 0)
		assert_int_equal(seteuid(NOBODY), 0);
}

static void
rig_init(struct rig *rig)
{
	int ready[2], go[2], fd;
	char name[128], c;

	new_fixture(&rig->f);
	journal_close(rig->f.j);
	rig->f.j = NULL;
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	assert_int_equal(pipe2(go, O_CLOEXEC), 0);
	rig->keeper = fork();
	assert_true(rig->keeper >= 0);
	if (rig->keeper == 0) {
		(void)close(go[1]);
		keep_open(&rig->f, ready[1], go[0]);
	}
	(void)close(ready[1]);
	(void)close(go[0]);
	rig->go = go[1];
	assert_int_equal(read(ready[0], &c, 1), 1);
	(void)close(ready[0]);
	(void)snprintf(name, sizeof name, "%s-shm", rig->f.path);
	fd = open(name, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	header = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(header, MAP_FAILED);
	assert_int_equal(close(fd), 0);
	give_up_rights(rig);
}

static void
rig_end(struct rig *rig)
{
	int status;

	if (getuid() == 0)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(munmap(header, 4096), 0);
	(void)close(rig->go);
	assert_int_equal(waitpid(rig->keeper, &status, 0), rig->keeper);
	assert_int_equal(status, 0);
	end_fixture(&rig->f);
}

/* Each call meets the header while it is written, and waits for it. */
static void
test_readers_wait_for_the_index(void **state)
{
	struct scan_record r;
	struct scan_cursor cursor;
	struct ledger_batch batch;
	struct evidence *e;
	struct ledger *l;
	struct scan *s;
	struct rig rig;
	char why[256];
	uint64_t n;
	size_t read = 0;

	(void)state;
	rig_init(&rig);
	break_header(3);
	s = scan_open(rig.f.path, false, why, sizeof why);
	if (s == NULL)
		fail_msg("%s", why);
	assert_int_equal(naps, 3);
	break_header(1);
	assert_int_equal(scan_size(s), POSTS);
	assert_int_equal(naps, 1);
	break_header(2);
	assert_int_equal(scan_cursor(s, "records", &cursor), 0);
	assert_int_equal(naps, 2);
	break_header(1);
	while (scan_next(s, &r) == 1)
		read++;
	assert_int_equal(read, POSTS);
	assert_int_equal(naps, 1);
	break_header(1);
	l = ledger_open(rig.f.path, why, sizeof why);
	assert_non_null(l);
	assert_int_equal(naps, 1);
	break_header(1);
	assert_int_equal(ledger_get(l, "records", 1, &batch), 0);
	assert_int_equal(naps, 1);
	e = evidence_open(rig.f.path, why, sizeof why);
	assert_non_null(e);
	break_header(1);
	assert_int_equal(evidence_newest(e, &n), 0);
	assert_int_equal(naps, 1);
	evidence_close(e);
	ledger_close(l);
	scan_close(s);
	rig_end(&rig);
}

/* Its writer died: nobody makes it whole, and nobody waits for ever. */
static void
test_index_that_stays_broken(void **state)
{
	struct scan_record r;
	struct scan *s;
	struct rig rig;
	char why[256];

	(void)state;
	rig_init(&rig);
	s = scan_open(rig.f.path, false, why, sizeof why);
	assert_non_null(s);
	break_header(UINT32_MAX);
	assert_int_equal(scan_next(s, &r), -1);
	assert_int_equal(naps, DB_READ_TRIES);
	header[8] ^= 1;
	assert_int_equal(scan_next(s, &r), 1);
	assert_int_equal(r.seq, 0);
	scan_close(s);
	rig_end(&rig);
}

static void
test_readers_wait_for_a_mark(void **state)
{
	struct scan_cursor cursor;
	struct scan *s;
	struct rig rig;
	char why[256];

	(void)state;
	rig_init(&rig);
	move_marks(3);
	s = scan_open(rig.f.path, false, why, sizeof why);
	if (s == NULL)
		fail_msg("%s", why);
	assert_int_equal(naps, 3);
	move_marks(1);
	assert_int_equal(scan_size(s), POSTS);
	assert_int_equal(naps, 1);
	move_marks(UINT32_MAX);
	assert_int_equal(scan_cursor(s, "records", &cursor), -1);
	assert_int_equal(naps, DB_READ_TRIES);
	restore_marks();
	assert_int_equal(scan_cursor(s, "records", &cursor), 0);
	scan_close(s);
	rig_end(&rig);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_readers_wait_for_the_index),
	    cmocka_unit_test(test_index_that_stays_broken),
	    cmocka_unit_test(test_readers_wait_for_a_mark),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
