/*
 * What happens when events cannot be recorded, when the keeper or the server
 * starts again, and when chat.db lacks what the journal holds.
 */

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <jansson.h>

#include "base/file.h"
#include "chat_double.h"
#include "server/admin.h"

static void
test_start_records_what_waited(void **state)
{
	struct rig *rig = rig_new();

	(void)state;
	assert_int_equal(rig->ready, 0);
	keeper_attach(rig);
	assert_int_equal(rig->hello, 0);
	run(rig);
	assert_int_equal(rig->count, 0);
	keeper_live(rig, true);
	assert_int_equal(rig->count, 7);
	assert_int_equal(rig->events[0].kind, EVENT_USER);
	assert_int_equal(rig->events[2].kind, EVENT_ROOM);
	assert_int_equal(rig->events[6].kind, EVENT_MEMBER);
	keeper_store(rig, 6);
	assert_int_equal(rig->ready, 0);
	keeper_store(rig, 1);
	assert_int_equal(rig->ready, 1);
	rig_stop(rig);
	/* Recorded once and for all. */
	rig_start(rig);
	keeper_attach(rig);
	assert_int_equal(rig->hello, 7);
	keeper_live(rig, true);
	assert_int_equal(rig->count, 7);
	assert_int_equal(rig->ready, 1);
	rig_free(rig);
}

/* However many they are: nobody comes in before all are recorded. */
static void
test_start_records_all_that_waited(void **state)
{
	struct rig *rig = rig_new();
	char uri[64], why[256];

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		(void)snprintf(uri, sizeof uri, "sip:user%u@" DOMAIN, i);
		assert_int_equal(store_user_add(rig->store, uri, "", NULL,
				     "uid:0", why, sizeof why),
		    0);
	}
	keeper_attach(rig);
	keeper_live(rig, true);
	assert_int_equal(rig->count, 27);
	assert_has(rig->events[26].envelope, "sip:user19@");
	keeper_store(rig, 26);
	assert_int_equal(rig->ready, 0);
	keeper_store(rig, 1);
	assert_int_equal(rig->ready, 1);
	rig_free(rig);
}

static void
test_ready_without_a_keeper(void **state)
{
	struct rig *rig = rig_new();
	struct session *ann;
	struct request r;

	(void)state;
	run_for(rig, 4000);
	assert_int_equal(rig->ready, 0);
	run_for(rig, 1500);
	assert_int_equal(rig->ready, 1);
	ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	command(rig, ann, "join", CHANID(OPS));
	assert_has(last_sent(ann), "<rpl id=\"rpl:join\"");
	assert_has(
	    last_sent(ann), "<resp code=\"500\">This cannot be recorded");
	command(rig, ann, "bjoin", CHANID(OPS) CHANID(LAB));
	assert_has(
	    last_sent(ann), "<resp code=\"500\">This cannot be recorded");
	command(rig, ann, "bccontext",
	    CHANIB(OPS_URI) "<bcq><last cnt=\"5\"/></bcq>");
	assert_has(
	    last_sent(ann), "<resp code=\"500\">This cannot be recorded");
	post(rig, ann, &r, OPS_URI, "x");
	assert_int_equal(r.status, 403);
	/* Then it comes: all goes on. */
	keeper_attach(rig);
	keeper_live(rig, true);
	keeper_store_all(rig);
	assert_int_equal(rig->count, 7);
	join(rig, ann, OPS);
	assert_has(last_sent(ann), "code=\"200\"");
	assert_int_equal(rig->ready, 1);
	sign_out(rig, ann, SESSION_BYE);
	rig_free(rig);
}

/* A keeper that waits for its signer opens a moment after its replay. */
static void
test_keeper_opens_late(void **state)
{
	struct rig *rig = rig_new();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");

	(void)state;
	keeper_attach(rig);
	keeper_live(rig, false);
	keeper_state(rig, false, "no signer yet");
	assert_int_equal(rig->ready, 0);
	assert_int_equal(record_state(rig->record), RECORD_WAIT);
	command(rig, ann, "join", CHANID(OPS));
	run(rig);
	assert_int_equal(ann->count, 0);
	keeper_state(rig, true, "");
	keeper_store_all(rig);
	assert_int_equal(rig->ready, 1);
	assert_has(last_sent(ann), "code=\"200\"");
	/* The same after a restart; but not for ever. */
	keeper_lose(rig);
	keeper_restart(rig, 0, false);
	assert_int_equal(record_state(rig->record), RECORD_WAIT);
	command(rig, ann, "join", CHANID(LAB));
	run_for(rig, 5200);
	assert_has(last_sent(ann), "<resp code=\"500\">");
	assert_int_equal(record_state(rig->record), RECORD_CLOSED);
	keeper_state(rig, true, "");
	join(rig, ann, LAB);
	assert_has(last_sent(ann), "code=\"200\"");
	sign_out(rig, ann, SESSION_BYE);
	rig_free(rig);
}

static void
test_refusals_reach_the_client(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	struct session *bob = sign_in(rig, "sip:bob@" DOMAIN, "0b0b");
	struct request r, later;

	(void)state;
	join(rig, bob, OPS);
	command(rig, ann, "join", CHANID(OPS));
	run(rig);
	keeper_refuse(rig, "disk full");
	assert_has(last_sent(ann), "<resp code=\"500\">");
	assert_has(last_sent(ann), "cannot be recorded now");
	assert_lacks(last_sent(ann), "disk full"); /* not for clients */
	assert_int_equal(count_sent(bob, "ntc:join"), 0);
	join(rig, ann, OPS);
	assert_has(last_sent(ann), "code=\"200\"");
	assert_int_equal(count_sent(bob, "ntc:join"), 1);
	post(rig, ann, &r, OPS_URI, "lost");
	run(rig);
	assert_has(last_event(rig)->envelope, "\"chat\":1,");
	keeper_refuse(rig, "disk full");
	assert_int_equal(r.status, 503);
	assert_has(r.reason, "cannot be recorded now");
	assert_lacks(r.reason, "disk full");
	assert_int_equal(count_sent(bob, "lost"), 0);
	/* Its number is given to the next one. */
	post(rig, ann, &later, OPS_URI, "kept");
	run(rig);
	assert_has(last_event(rig)->envelope, "\"chat\":1,");
	keeper_store(rig, 1);
	assert_int_equal(later.status, 200);
	command(rig, ann, "bccontext",
	    CHANIB(OPS_URI) "<bcq><last cnt=\"5\"/></bcq>");
	run(rig);
	keeper_refuse(rig, "disk full");
	assert_has(last_sent(ann), "<rpl id=\"rpl:bccontext\"");
	assert_has(last_sent(ann), "<resp code=\"500\">");
	assert_lacks(last_sent(ann), "kept</chat>");
	sign_out(rig, ann, SESSION_BYE);
	sign_out(rig, bob, SESSION_BYE);
	rig_free(rig);
}

static void
test_closed_journal(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	struct session *bob = sign_in(rig, "sip:bob@" DOMAIN, "0b0b");
	struct chat_counters n;
	struct request r;
	size_t before;

	(void)state;
	join(rig, ann, OPS);
	join(rig, bob, OPS);
	before = rig->count;
	keeper_state(rig, false, "no space left");
	post(rig, ann, &r, OPS_URI, "x");
	assert_int_equal(r.status, 503);
	assert_has(r.reason, "cannot be recorded now");
	assert_lacks(r.reason, "no space left");
	command(rig, ann, "join", CHANID(LAB));
	assert_has(last_sent(ann), "<resp code=\"500\">");
	/* What needs no record goes on. */
	command(rig, ann, "chansrch", "<qib qtype=\"BYNAME\" criteria=\"\"/>");
	assert_has(last_sent(ann), "code=\"200\"");
	/* He who is in the room is still there: told again, no event. */
	command(rig, ann, "join", CHANID(OPS));
	assert_has(last_sent(ann), "code=\"200\"");
	/* A leave happens all the same, and is recorded late. */
	forget_sent(bob);
	command(rig, ann, "part", CHANIB(OPS_URI));
	sign_out(rig, bob, SESSION_LOST);
	run(rig);
	assert_int_equal(rig->count, before);
	chat_counters(rig->chat, &n);
	assert_false(n.writable);
	assert_int_equal(n.late, 2);
	assert_int_equal(n.joined, 0);
	assert_int_equal(count_sent(ann, "rpl:part"), 0);
	keeper_state(rig, true, "");
	assert_int_equal(rig->count, before + 2);
	assert_has(rig->events[before].envelope, "\"reason\":\"part\"");
	assert_has(
	    rig->events[before].envelope, ",\"late\":true,\"happened\":");
	assert_has(rig->events[before + 1].envelope, "\"reason\":\"lost\"");
	assert_has(rig->events[before + 1].envelope, ",\"late\":true,");
	keeper_store_all(rig);
	assert_int_equal(count_sent(ann, "rpl:part"), 1);
	join(rig, ann, OPS);
	assert_has(last_sent(ann), "code=\"200\"");
	sign_out(rig, ann, SESSION_BYE);
	rig_free(rig);
}

/* No more than limits.inflight (8 here) wait for the keeper. */
static void
test_inflight_is_bounded(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	struct session *bob = sign_in(rig, "sip:bob@" DOMAIN, "0b0b");
	struct request r[9];

	(void)state;
	join(rig, ann, OPS);
	join(rig, bob, OPS);
	for (int i = 0; i < 9; i++)
		post(rig, ann, &r[i], OPS_URI, "x");
	assert_int_equal(r[7].status, 0);
	assert_int_equal(r[8].status, 503);
	command(rig, ann, "join", CHANID(LAB));
	assert_has(last_sent(ann), "<resp code=\"500\">");
	/* A leave is a fact: it goes in all the same. */
	sign_out(rig, bob, SESSION_BYE);
	run(rig);
	assert_int_equal(last_event(rig)->kind, EVENT_LEAVE);
	assert_lacks(last_event(rig)->envelope, "late");
	keeper_store_all(rig);
	for (int i = 0; i < 8; i++)
		assert_int_equal(r[i].status, 200);
	assert_int_equal(count_sent(ann, "<grpchat"), 8);
	answer(rig, ann, SESSION_DELIVERED);
	sign_out(rig, ann, SESSION_BYE);
	rig_free(rig);
}

/* The replay says which events under way made it. */
static void
test_keeper_restart_in_mid_flight(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	struct session *bob = sign_in(rig, "sip:bob@" DOMAIN, "0b0b");
	struct request made, lost, held, early;
	size_t before;

	(void)state;
	join(rig, ann, OPS);
	join(rig, bob, LAB);
	join(rig, bob, OPS);
	post(rig, ann, &early, OPS_URI, "early");
	keeper_store_all(rig);
	answer(rig, ann, SESSION_DELIVERED);
	answer(rig, bob, SESSION_DELIVERED);
	forget_sent(bob);
	run_for(rig, 1100);
	keeper_store_all(rig);
	post(rig, ann, &made, OPS_URI, "made it");
	post(rig, ann, &lost, OPS_URI, "did not");
	run(rig);
	keeper_lose(rig);
	assert_int_equal(made.status + lost.status, 0);
	/* What comes meanwhile waits. */
	post(rig, ann, &held, OPS_URI, "patient");
	command(rig, ann, "join", CHANID(LAB));
	run_for(rig, 300);
	assert_int_equal(held.status, 0);
	before = rig->count;
	keeper_restart(rig, 1, true);
	assert_int_equal(made.status, 200);
	assert_int_equal(lost.status, 503);
	assert_int_equal(held.status, 0);
	assert_int_equal(bob->count, 1);
	assert_has(last_sent(bob), "made it");
	assert_int_equal(bob->sent[0].number, 2);
	assert_int_equal(rig->count, before + 2);
	assert_has(rig->events[before].envelope, "\"chat\":3,");
	keeper_store_all(rig);
	assert_int_equal(held.status, 200);
	assert_has(last_sent(bob), "patient");
	assert_has(last_sent(ann), "<chanib name=\"Lab\"");
	answer(rig, ann, SESSION_DELIVERED);
	answer(rig, bob, SESSION_DELIVERED);
	sign_out(rig, ann, SESSION_BYE);
	sign_out(rig, bob, SESSION_BYE);
	rig_free(rig);
}

/*
 * Given up after five seconds, yet in the journal: members get the post and
 * a join that nobody was told of is followed by a leave.
 */
static void
test_keeper_away_for_long(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	struct session *bob = sign_in(rig, "sip:bob@" DOMAIN, "0b0b");
	struct request made, held;
	size_t before;

	(void)state;
	join(rig, ann, OPS);
	join(rig, bob, OPS);
	post(rig, ann, &made, OPS_URI, "made it");
	command(rig, ann, "join", CHANID(LAB));
	command(rig, bob, "part", CHANIB(OPS_URI));
	run(rig);
	keeper_lose(rig);
	post(rig, ann, &held, OPS_URI, "patient");
	run_for(rig, 5200);
	assert_int_equal(made.status, 503);
	assert_int_equal(held.status, 503);
	assert_has(last_sent(ann), "<resp code=\"500\">");
	assert_int_equal(count_sent(ann, "made it"), 0);
	before = rig->count;
	/* Post and join are in the journal, the leave is not. */
	keeper_restart(rig, 2, true);
	assert_int_equal(count_sent(ann, "made it"), 1);
	assert_int_equal(rig->count, before + 2);
	assert_has(rig->events[before].envelope, "\"roomname\":\"Lab\"");
	assert_has(rig->events[before].envelope, "\"reason\":\"restart\"");
	assert_has(rig->events[before + 1].envelope, "\"reason\":\"part\"");
	assert_has(rig->events[before + 1].envelope, "\"late\":true");
	keeper_store_all(rig);
	assert_has(last_sent(bob), "rpl:part");
	/* The next post has the next number. */
	post(rig, ann, &held, OPS_URI, "next");
	run(rig);
	assert_has(last_event(rig)->envelope, "\"chat\":2,");
	keeper_store_all(rig);
	answer(rig, ann, SESSION_DELIVERED);
	sign_out(rig, ann, SESSION_BYE);
	sign_out(rig, bob, SESSION_BYE);
	rig_free(rig);
}

/* A leave on its way when the keeper died, and recorded: not twice. */
static void
test_leave_made_it(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	size_t before;

	(void)state;
	join(rig, ann, OPS);
	command(rig, ann, "part", CHANIB(OPS_URI));
	run(rig);
	keeper_lose(rig);
	run_for(rig, 5200);
	before = rig->count;
	keeper_restart(rig, 1, true);
	assert_int_equal(rig->count, before);
	assert_has(last_sent(ann), "rpl:part");
	sign_out(rig, ann, SESSION_BYE);
	rig_free(rig);
}

/* From one suffix of the path to another. */
static void
copy_file(const char *path, const char *from, const char *to)
{
	struct buf content = {0}, name = {0};

	buf_printf(&name, "%s%s", path, from);
	assert_int_equal(file_read(buf_text(&name), 1 << 26, &content), 0);
	buf_clear(&name);
	buf_printf(&name, "%s%s", path, to);
	assert_int_equal(
	    file_replace(buf_text(&name), buf_view(&content), 0600), 0);
	buf_release(&content);
	buf_release(&name);
}

static void
remove_file(const char *path, const char *suffix)
{
	struct buf name = {0};

	buf_printf(&name, "%s%s", path, suffix);
	assert_int_equal(unlink(buf_text(&name)), 0);
	buf_release(&name);
}

/* The server dies with people in rooms and posts chat.db does not hold. */
static void
test_server_restart(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	struct session *bob = sign_in(rig, "sip:bob@" DOMAIN, "0b0b");
	struct request r, unknown;
	char expected[128];
	uint64_t joined;
	size_t before;

	(void)state;
	join(rig, ann, OPS);
	joined = last_event(rig)->seq;
	run_for(rig, 400);
	/* chat.db as it is now is what the dead server leaves behind. */
	copy_file(rig->path, "", ".old");
	copy_file(rig->path, "-wal", ".old-wal");
	join(rig, bob, OPS);
	command(rig, bob, "part", CHANIB(OPS_URI));
	keeper_store_all(rig);
	post(rig, ann, &r, OPS_URI, "remember");
	keeper_store_all(rig);
	post(rig, ann, &unknown, OPS_URI, "unknown");
	run(rig);
	answer(rig, ann, SESSION_DELIVERED);
	keeper_lose(rig);
	rig_stop(rig);
	forget_sent(ann);
	free(ann->sent);
	free(ann);
	forget_sent(bob);
	free(bob->sent);
	free(bob);
	copy_file(rig->path, ".old", "");
	copy_file(rig->path, ".old-wal", "-wal");

	rig_start(rig);
	before = rig->count;
	keeper_restart(rig, 1, true);
	assert_true(rig->hello <= joined + 1);
	/* Only ann was still there. */
	assert_int_equal(rig->count, before + 1);
	assert_has(last_event(rig)->envelope, "\"user\":\"sip:ann@" DOMAIN);
	assert_has(last_event(rig)->envelope, "\"device\":\"0a1b\"");
	(void)snprintf(expected, sizeof expected,
	    "\"reason\":\"restart\",\"joined\":%llu}",
	    (unsigned long long)joined);
	assert_has(last_event(rig)->envelope, expected);
	assert_int_equal(rig->ready, 0);
	keeper_store_all(rig);
	assert_int_equal(rig->ready, 1);
	ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	command(rig, ann, "bccontext",
	    CHANIB(OPS_URI) "<bcq><last cnt=\"9\"/></bcq>");
	keeper_store_all(rig);
	assert_has(last_sent(ann), ">remember<");
	assert_has(last_sent(ann), ">unknown<");
	remove_file(rig->path, ".old");
	remove_file(rig->path, ".old-wal");
	sign_out(rig, ann, SESSION_BYE);
	rig_free(rig);
}

/* A new chat.db gets rooms, users and messages from the journal. */
static void
test_projection_is_rebuilt(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	struct request r;
	char why[256], name[160];

	(void)state;
	join(rig, ann, VAULT);
	post(rig, ann, &r, VAULT_URI, "one&#13;&#10;two");
	keeper_store_all(rig);
	answer(rig, ann, SESSION_DELIVERED);
	sign_out(rig, ann, SESSION_BYE);
	keeper_store_all(rig);
	keeper_lose(rig);
	rig_stop(rig);
	unlink(rig->path);
	(void)snprintf(name, sizeof name, "%s-wal", rig->path);
	unlink(name);
	(void)snprintf(name, sizeof name, "%s-shm", rig->path);
	unlink(name);
	assert_int_equal(store_create(rig->path, DOMAIN, why, sizeof why), 0);
	rig_start(rig);
	keeper_restart(rig, 0, true);
	assert_int_equal(rig->hello, 0);
	assert_int_equal(rig->answered, rig->count);
	ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	join(rig, ann, VAULT);
	assert_has(last_sent(ann),
	    "<chanib name=\"Vault\""
	    " description=\"About it\"");
	command(rig, ann, "bccontext",
	    CHANIB(VAULT_URI) "<bcq><last cnt=\"9\"/></bcq>");
	keeper_store_all(rig);
	assert_has(last_sent(ann), "<chat>one&#13;&#10;two</chat>");
	sign_out(rig, ann, SESSION_BYE);
	rig_free(rig);
}

/* Replayed events without payload (purged) do not stop anything. */
static void
test_purged_events_are_skipped(void **state)
{
	struct rig *rig = rig_new();
	struct buf b = {0};

	(void)state;
	keeper_attach(rig);
	buf_put_u64(&b, 0);
	buf_put_u64(&b, time_of(0));
	buf_put_u8(&b, EVENT_POST);
	buf_put_u8(&b, 0);
	keeper_frame(rig, WIRE_REPLAY, &b);
	buf_release(&b);
	rig->size = 1;
	keeper_live(rig, true);
	keeper_store_all(rig);
	assert_int_equal(rig->ready, 1);
	assert_int_equal(store_applied(rig->store), 8);
	rig_free(rig);
}

/*
 * chat.db cannot be written for a while: what it lost is asked for again,
 * and nobody gets anything twice.
 */
static void
test_chat_db_fails(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	struct rlimit old, small = {0};
	struct request r, held;
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
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	post(rig, ann, &r, OPS_URI, "recorded");
	keeper_store_all(rig);
	/* It is in the journal: its author and its readers have it. */
	assert_int_equal(r.status, 200);
	assert_int_equal(count_sent(ann, ">recorded<"), 1);
	run_for(rig, 400);
	assert_true(store_failed(rig->store));
	assert_int_equal(record_state(rig->record), RECORD_WAIT);
	post(rig, ann, &held, OPS_URI, "held");
	run(rig);
	assert_int_equal(held.status, 0);
	rig->hello = UINT64_MAX;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	run_for(rig, 1300);
	assert_int_equal(rig->hello, 8);
	for (size_t i = 0; i < rig->count; i++)
		if (rig->events[i].stored && rig->events[i].seq >= rig->hello)
			keeper_replay(rig, &rig->events[i]);
	keeper_live(rig, true);
	assert_int_equal(record_state(rig->record), RECORD_OPEN);
	assert_int_equal(count_sent(ann, ">recorded<"), 1);
	keeper_store_all(rig);
	assert_int_equal(held.status, 200);
	command(rig, ann, "bccontext",
	    CHANIB(OPS_URI) "<bcq><last cnt=\"9\"/></bcq>");
	keeper_store_all(rig);
	assert_has(last_sent(ann), ">recorded<");
	assert_has(last_sent(ann), ">held<");
	answer(rig, ann, SESSION_DELIVERED);
	sign_out(rig, ann, SESSION_BYE);
	rig_free(rig);
}

/* The position that the keeper may purge up to is on disk first. */
static void
test_position_is_told(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");

	(void)state;
	join(rig, ann, OPS);
	run_for(rig, 2500);
	assert_int_equal(rig->applied, 8);
	sign_out(rig, ann, SESSION_BYE);
	rig_free(rig);
}

/* A keeper that breaks the protocol loses its link, nothing else. */
static void
test_broken_keeper(void **state)
{
	static const struct {
		uint16_t type;
		size_t n;
		uint8_t bytes[32];
	} frames[] = {
	    {WIRE_RECEIPT, 3, {0, 0, 1}},
	    {WIRE_RECEIPT, 4, {0xff, 0xff, 0xff, 0xff}},
	    {WIRE_RECEIPT, 28, {0, 0, 0, 1, 0xff, 0, 0, 0, 0, 0, 0, 0, 1}},
	    {WIRE_REPLAY, 5, {1, 2, 3, 4, 5}},
	    {WIRE_LIVE, 9, {0}},
	    {WIRE_REFUSED, 2, {0}},
	    {WIRE_STATE, 0, {0}},
	    {999, 1, {0}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++) {
		struct rig *rig = rig_ready();
		struct buf b = {0};
		char byte;

		buf_put(&b, frames[i].bytes, frames[i].n);
		keeper_frame(rig, frames[i].type, &b);
		buf_release(&b);
		run(rig);
		assert_int_equal(recv(rig->keeper, &byte, 1, MSG_DONTWAIT), 0);
		assert_int_equal(record_state(rig->record), RECORD_WAIT);
		keeper_lose(rig);
		keeper_restart(rig, 0, true);
		assert_int_equal(record_state(rig->record), RECORD_OPEN);
		rig_free(rig);
	}
}

/* ---- Administration ---- */

static char *
ask(struct rig *rig, int fd, const char *text)
{
	struct ipc_decoder in;
	struct view payload = {0};
	uint8_t bytes[65536];
	struct buf b = {0};
	char *reply = NULL;
	uint16_t type;
	ssize_t n;

	buf_put_u32(&b, (uint32_t)strlen(text) + 12);
	buf_put_u16(&b, IPC_VERSION);
	buf_put_u16(&b, WIRE_JSON);
	buf_put_u64(&b, 42);
	buf_put_text(&b, text);
	assert_int_equal(send(fd, b.data, b.len, 0), (ssize_t)b.len);
	buf_release(&b);
	run(rig);
	if (rig->keeper >= 0)
		keeper_store_all(rig);
	n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
	assert_true(n > 0);
	ipc_decoder_init(&in);
	buf_put(&in.in, bytes, (size_t)n);
	assert_int_equal(ipc_decoder_next(&in, &type, &payload), IPC_FRAME);
	assert_int_equal(type, WIRE_JSON);
	assert_int_equal(payload.p[7], 42);
	reply = text_dup(view_of(payload.p + 8, payload.n - 8));
	ipc_decoder_release(&in);
	return reply;
}

static void
assert_reply(struct rig *rig, int fd, const char *request, const char *part)
{
	char *reply = ask(rig, fd, request);

	assert_has(reply, part);
	free(reply);
}

static void
test_administration(void **state)
{
	struct rig *rig = rig_ready();
	struct admin *admin = admin_new(&rig->loop, rig->store, rig->chat);
	int fds[2];

	(void)state;
	assert_non_null(admin);
	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	admin_link(admin, fds[0]);
	assert_reply(rig, fds[1],
	    "{\"cmd\":\"user.add\",\"args\":{\"uri\":\"sip:cyd@example.test\","
	    "\"name\":\"Cyd\",\"password\":\"pw\",\"by\":\"forged\"},"
	    "\"by\":\"uid:7\"}",
	    "{\"ok\":true,\"result\":{\"uri\":\"sip:cyd@example.test\","
	    "\"recorded\":true}}");
	assert_has(last_event(rig)->envelope, "\"by\":\"uid:7\"}");
	assert_reply(rig, fds[1],
	    "{\"cmd\":\"room.add\",\"args\":{\"name\":\"New\","
	    "\"privacy\":\"secret\"},\"by\":\"uid:7\"}",
	    "{\"ok\":true,\"result\":{\"uri\":\"ma-chan://example.test/");
	assert_int_equal(last_event(rig)->kind, EVENT_ROOM);
	assert_true(last_event(rig)->stored);
	assert_reply(rig, fds[1],
	    "{\"cmd\":\"room.member.add\",\"args\":{\"room\":\"new\","
	    "\"user\":\"sip:cyd@example.test\"},\"by\":\"uid:7\"}",
	    "\"recorded\":true");
	assert_int_equal(last_event(rig)->kind, EVENT_MEMBER);
	assert_reply(rig, fds[1], "{\"cmd\":\"user.list\",\"by\":\"uid:7\"}",
	    "{\"uri\":\"sip:cyd@example.test\",\"name\":\"Cyd\","
	    "\"password\":true}");
	assert_reply(rig, fds[1], "{\"cmd\":\"room.list\",\"by\":\"uid:7\"}",
	    "\"privacy\":\"secret\",\"members\":1}");
	assert_reply(rig, fds[1],
	    "{\"cmd\":\"status.server\",\"by\":\"uid:7\"}",
	    "\"writable\":true");
	assert_reply(rig, fds[1],
	    "{\"cmd\":\"room.add\",\"args\":{\"name\":\"ops\"},"
	    "\"by\":\"uid:7\"}",
	    "{\"ok\":false,\"error\":\"ops: a room with that name exists");
	assert_reply(rig, fds[1],
	    "{\"cmd\":\"room.add\",\"args\":{\"name\":5},\"by\":\"uid:7\"}",
	    "\"ok\":false");
	assert_reply(rig, fds[1], "{\"cmd\":\"room.add\"}", "\"by\\\"");
	assert_reply(
	    rig, fds[1], "{\"cmd\":\"x\",\"by\":\"u\"}", "does not know");
	assert_reply(rig, fds[1], "not JSON", "\"ok\":false");
	/* Without a journal the change stands, is said so, and goes later. */
	keeper_lose(rig);
	run_for(rig, 5200);
	assert_reply(rig, fds[1],
	    "{\"cmd\":\"room.add\",\"args\":{\"name\":\"Late\"},"
	    "\"by\":\"uid:7\"}",
	    "\"recorded\":false,\"warning\":");
	keeper_restart(rig, 0, true);
	assert_int_equal(last_event(rig)->kind, EVENT_ROOM);
	assert_has(last_event(rig)->envelope, "\"roomname\":\"Late\"");
	keeper_store_all(rig);
	close(fds[1]);
	run(rig);
	admin_free(admin);
	rig_free(rig);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_start_records_what_waited),
	    cmocka_unit_test(test_start_records_all_that_waited),
	    cmocka_unit_test(test_ready_without_a_keeper),
	    cmocka_unit_test(test_keeper_opens_late),
	    cmocka_unit_test(test_refusals_reach_the_client),
	    cmocka_unit_test(test_closed_journal),
	    cmocka_unit_test(test_inflight_is_bounded),
	    cmocka_unit_test(test_keeper_restart_in_mid_flight),
	    cmocka_unit_test(test_keeper_away_for_long),
	    cmocka_unit_test(test_leave_made_it),
	    cmocka_unit_test(test_server_restart),
	    cmocka_unit_test(test_projection_is_rebuilt),
	    cmocka_unit_test(test_purged_events_are_skipped),
	    cmocka_unit_test(test_chat_db_fails),
	    cmocka_unit_test(test_position_is_told),
	    cmocka_unit_test(test_broken_keeper),
	    cmocka_unit_test(test_administration),
	};

	return cmocka_run_group_tests(
	    tests, rig_make_folder, rig_remove_folder);
}
