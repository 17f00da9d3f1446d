/*
 * What the keeper is told while chat.db cannot be read, written or synced.
 */

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <sqlite3.h>

#include "chat_double.h"

#include "server/store_db.h"

/* The disk's word, for all libraries of the process. */
static bool syncs_fail;

int
fdatasync(int fd)
{
	if (syncs_fail) {
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_fdatasync, fd);
}

static void
rename_rooms(struct rig *rig, const char *sql)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(rig->path, &db), SQLITE_OK);
	assert_int_equal(
	    sqlite3_exec(db, "PRAGMA legacy_alter_table=ON", NULL, NULL, NULL),
	    SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* An event whose room cannot be read just now is not passed over. */
static void
test_chat_db_is_misread(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	struct rlimit old, small = {0};
	char name[160];
	struct stat st;

	(void)state;
	run_for(rig, 400);
	(void)snprintf(name, sizeof name, "%s-wal", rig->path);
	assert_int_equal(stat(name, &st), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small.rlim_cur = (rlim_t)st.st_size;
	small.rlim_max = old.rlim_max;
	assert_ptr_not_equal(signal(SIGXFSZ, SIG_IGN), SIG_ERR);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	join(rig, ann, OPS);
	run_for(rig, 400);
	assert_true(store_failed(rig->store));
	keeper_lose(rig);
	rig_stop(rig);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	rename_rooms(rig, "ALTER TABLE room RENAME TO gone");
	rig_start(rig);
	keeper_attach(rig);
	assert_int_equal(rig->hello, 7);
	keeper_replay(rig, &rig->events[7]);
	run(rig);
	assert_true(store_failed(rig->store));
	rename_rooms(rig, "ALTER TABLE gone RENAME TO room");
	rig->hello = UINT64_MAX;
	run_for(rig, 1300);
	assert_int_equal(rig->hello, 7);
	keeper_replay(rig, &rig->events[7]);
	keeper_live(rig, true);
	run(rig);
	assert_int_equal(last_event(rig)->kind, EVENT_LEAVE);
	assert_has(last_event(rig)->envelope, "\"reason\":\"restart\"");
	keeper_store_all(rig);
	sign_out(rig, ann, SESSION_BYE);
	rig_free(rig);
}

/* The keeper may purge below the position: it hears what is on disk only. */
static void
test_position_is_on_disk(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	uint64_t before;
	int fds[2];

	(void)state;
	join(rig, ann, OPS);
	run_for(rig, 1300);
	before = rig->applied;
	syncs_fail = true;
	join(rig, ann, LAB);
	run_for(rig, 2600);
	assert_int_equal(rig->applied, before);
	syncs_fail = false;
	run_for(rig, 1300);
	assert_int_equal(rig->applied, before + 1);
	command(rig, ann, "part", CHANIB(LAB_URI));
	keeper_store_all(rig);
	run_for(rig, 400);
	keeper_lose(rig);
	syncs_fail = true;
	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	rig->keeper = fds[1];
	rig->hello = UINT64_MAX;
	ipc_decoder_init(&rig->in);
	record_link(rig->record, fds[0]);
	run_for(rig, 1300);
	assert_int_equal(rig->hello, UINT64_MAX);
	assert_int_not_equal(record_state(rig->record), RECORD_OPEN);
	syncs_fail = false;
	run_for(rig, 1300);
	assert_int_equal(rig->hello, before + 2);
	keeper_live(rig, true);
	assert_int_equal(record_state(rig->record), RECORD_OPEN);
	sign_out(rig, ann, SESSION_BYE);
	rig_free(rig);
}

/* What the keeper has in hand on a link that lives is not given up. */
static void
test_slow_keeper_while_chat_db_fails(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	struct session *bob = sign_in(rig, "sip:bob@" DOMAIN, "0b0b");
	struct rlimit old, small = {0};
	struct request r;
	char name[160];
	struct stat st;

	(void)state;
	join(rig, ann, OPS);
	run_for(rig, 400);
	(void)snprintf(name, sizeof name, "%s-wal", rig->path);
	assert_int_equal(stat(name, &st), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small.rlim_cur = (rlim_t)st.st_size;
	small.rlim_max = old.rlim_max;
	assert_ptr_not_equal(signal(SIGXFSZ, SIG_IGN), SIG_ERR);
	join(rig, bob, OPS);
	post(rig, ann, &r, OPS_URI, "slow");
	run(rig);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	run_for(rig, 6000);
	assert_true(store_failed(rig->store));
	assert_int_equal(record_state(rig->record), RECORD_CLOSED);
	assert_int_equal(r.status, 0);
	keeper_store_all(rig);
	assert_int_equal(r.status, 200);
	assert_int_equal(count_sent(bob, ">slow<"), 1);
	rig->hello = UINT64_MAX;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	run_for(rig, 1300);
	assert_int_not_equal(rig->hello, UINT64_MAX);
	for (size_t i = 0; i < rig->count; i++)
		if (rig->events[i].stored && rig->events[i].seq >= rig->hello)
			keeper_replay(rig, &rig->events[i]);
	keeper_live(rig, true);
	assert_int_equal(record_state(rig->record), RECORD_OPEN);
	assert_int_equal(count_sent(bob, ">slow<"), 1);
	answer(rig, ann, SESSION_DELIVERED);
	answer(rig, bob, SESSION_DELIVERED);
	sign_out(rig, ann, SESSION_BYE);
	sign_out(rig, bob, SESSION_BYE);
	rig_free(rig);
}

/*
 * Both come and go within the time that a keeper may be away: who asked
 * meanwhile has an answer.
 */
static void
test_chat_db_fails_while_the_journal_is_closed(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	struct request first, held[2];
	struct rlimit old, small = {0};

	(void)state;
	join(rig, ann, OPS);
	run_for(rig, 400);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small.rlim_max = old.rlim_max;
	assert_ptr_not_equal(signal(SIGXFSZ, SIG_IGN), SIG_ERR);
	post(rig, ann, &first, OPS_URI, "x");
	for (int i = 0; i < 2; i++) {
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
		if (i == 1) { /* what only chat.db has: it needs no replay */
			(void)store_add_pending(
			    rig->store, EVENT_USER, view_text("{}"));
			(void)store_commit_now(rig->store);
		}
		keeper_store_all(rig);
		run_for(rig, 400);
		assert_true(store_failed(rig->store));
		assert_int_equal(record_state(rig->record), RECORD_WAIT);
		post(rig, ann, &held[i], OPS_URI, "held");
		assert_int_equal(held[i].status, 0);
		rig->hello = UINT64_MAX;
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
		run_for(rig, 1300);
		assert_int_not_equal(rig->hello, UINT64_MAX);
		for (size_t k = 0; k < rig->count; k++)
			if (rig->events[k].stored &&
			    rig->events[k].seq >= rig->hello)
				keeper_replay(rig, &rig->events[k]);
		keeper_live(rig, false);
		assert_int_equal(record_state(rig->record), RECORD_CLOSED);
		assert_int_equal(held[i].status, 503);
		run_for(rig, 250); /* it is stored, not yet synced */
	}
	sign_out(rig, ann, SESSION_BYE);
	rig_free(rig);
}

/* A purge is heard of once, in order, also over an end of the server. */
static void
test_purges_are_followed(void **state)
{
	struct rig *rig = rig_ready();
	struct buf b = {0};

	(void)state;
	assert_int_equal(rig->gone, 0);
	buf_put_u64(&b, 17);
	buf_put_text(&b, "3-9");
	keeper_frame(rig, WIRE_PURGED, &b);
	run(rig);
	assert_int_equal(rig->gone, 18);
	run_for(rig, 400);
	rig->gone = 0;
	keeper_lose(rig);
	rig_stop(rig);
	rig_start(rig);
	keeper_attach(rig);
	run(rig);
	assert_int_equal(rig->gone, 18);
	buf_release(&b);
	rig_free(rig);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_chat_db_is_misread),
	    cmocka_unit_test(test_position_is_on_disk),
	    cmocka_unit_test(test_slow_keeper_while_chat_db_fails),
	    cmocka_unit_test(test_chat_db_fails_while_the_journal_is_closed),
	    cmocka_unit_test(test_purges_are_followed),
	};

	return cmocka_run_group_tests(
	    tests, rig_make_folder, rig_remove_folder);
}
