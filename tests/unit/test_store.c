/* chat.db: administration, rooms as a user sees them, history, position. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/crypto.h"
#include "base/text.h"
#include "compliance/event.h"
#include "server/payload.h"
#include "server/store_chat.h"
#include "server/store_purge.h"

#define DOMAIN "example.test"
#define GUID "11111111-aaaa-4000-8000-000000000001"

static char folder[] = "/tmp/chancery-test-store-XXXXXX";
static char path[128];
static char why[256];
static struct store *store;

static struct store *
reopen(void)
{
	store_close(store);
	store = store_open(path, why, sizeof why);
	if (store == NULL)
		fail_msg("%s", why);
	return store;
}

static int
set_up(void **state)
{
	static int n;

	(void)state;
	(void)snprintf(path, sizeof path, "%s/%d.db", folder, n++);
	assert_int_equal(store_create(path, DOMAIN, why, sizeof why), 0);
	reopen();
	return 0;
}

static int
tear_down(void **state)
{
	char name[160];

	(void)state;
	store_close(store);
	store = NULL;
	unlink(path);
	(void)snprintf(name, sizeof name, "%s-wal", path);
	unlink(name);
	(void)snprintf(name, sizeof name, "%s-shm", path);
	unlink(name);
	return 0;
}

static int
add_user(const char *uri, const char *name, const char *password)
{
	return store_user_add(
	    store, uri, name, password, "uid:0", why, sizeof why);
}

static int
add_room(const char *name, const char *guid, enum store_privacy privacy,
    const char *description)
{
	struct buf uri = {0};
	int result = store_room_add(store, name, guid, privacy, description,
	    "uid:0", &uri, why, sizeof why);

	if (result == 0)
		assert_memory_equal(uri.data, "ma-chan://example.test/", 23);
	else
		assert_int_equal(uri.len, 0);
	buf_release(&uri);
	return result;
}

static int
add_member(const char *room, const char *user)
{
	return store_member_add(store, room, user, "uid:0", why, sizeof why);
}

static uint64_t
room_id(const char *guid)
{
	struct store_room r;
	uint64_t id;

	assert_true(store_room_get(store, view_text(guid), &r));
	id = r.id;
	store_room_release(&r);
	return id;
}

static void
test_the_file_is_private(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(store_create(path, DOMAIN, why, sizeof why), -1);
	assert_non_null(strstr(why, "exists"));
	assert_null(store_open("/nonexistent/chat.db", why, sizeof why));
	assert_string_equal(store_domain(store), DOMAIN);
	assert_int_equal(strlen(store_root(store)), 36);
	assert_string_not_equal(store_root(store), store_version(store));
}

static void
test_credentials(void **state)
{
	struct store_user u;
	uint8_t md5[16], sha256[32];

	(void)state;
	assert_int_equal(add_user("sip:Ann@Example.Test", "Ann", "pa:ss"), 0);
	reopen();
	assert_true(store_user_get(store, "sip:ann@example.test", &u));
	crypto_md5("ann@example.test:example.test:pa:ss", 35, md5);
	crypto_sha256("ann@example.test:example.test:pa:ss", 35, sha256);
	assert_true(u.has_password);
	assert_memory_equal(u.ha1_md5, md5, 16);
	assert_memory_equal(u.ha1_sha256, sha256, 32);
	assert_string_equal(u.uri, "sip:ann@example.test");
	assert_string_equal(u.name, "Ann");
	store_user_release(&u);
	assert_int_equal(add_user("sip:bob@example.test", "", NULL), 0);
	assert_true(store_user_get(store, "sip:BOB@example.test", &u));
	assert_false(u.has_password);
	store_user_release(&u);
	assert_false(store_user_get(store, "sip:cyd@example.test", &u));
}

static void
test_users_are_checked(void **state)
{
	static const char *const bad[] = {"ann@example.test",
	    "sip:ann@other.test", "sip:@example.test", "sip:a b@example.test",
	    "sip:a\"b@example.test", "sip:a@b@example.test", "",
	    "sip:", "sip:ann@example.test;x=1", "sips:ann@example.test"};
	char name[258];

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(add_user(bad[i], "x", "y"), -1);
	assert_int_equal(add_user("sip:ann@example.test", "a\nb", "y"), -1);
	assert_int_equal(add_user("sip:ann@example.test", "\xff", "y"), -1);
	assert_int_equal(add_user("sip:ann@example.test", "x", ""), -1);
	memset(name, 'n', 257);
	name[257] = '\0';
	assert_int_equal(add_user("sip:ann@example.test", name, "y"), -1);
	name[256] = '\0';
	assert_int_equal(add_user("sip:ann@example.test", name, "y"), 0);
	assert_int_equal(add_user("sip:ANN@example.test", "x", "y"), -1);
	assert_non_null(strstr(why, "exists"));
}

static void
test_rooms_are_checked(void **state)
{
	char name[1026];

	(void)state;
	assert_int_equal(add_room("Ops", GUID, STORE_OPEN, "d"), 0);
	assert_int_equal(add_room("oPS", NULL, STORE_OPEN, ""), -1);
	assert_non_null(strstr(why, "that name exists"));
	assert_int_equal(
	    add_room("x", "11111111-AAAA-4000-8000-000000000001", 0, ""), -1);
	assert_non_null(strstr(why, "that GUID exists"));
	assert_int_equal(add_room("\xc3\x84rger", NULL, STORE_OPEN, ""), 0);
	assert_int_equal(add_room("\xc3\xa4RGER", NULL, STORE_OPEN, ""), -1);
	assert_int_equal(add_room("", NULL, STORE_OPEN, ""), -1);
	assert_int_equal(add_room(" x", NULL, STORE_OPEN, ""), -1);
	assert_int_equal(add_room("x\r", NULL, STORE_OPEN, ""), -1);
	assert_int_equal(add_room("x\xc2\x85", NULL, STORE_OPEN, ""), -1);
	assert_int_equal(add_room("x\xc0\x80", NULL, STORE_OPEN, ""), -1);
	assert_int_equal(add_room("x\xef\xbf\xbf", NULL, STORE_OPEN, ""), -1);
	assert_int_equal(add_room("x", "not-a-guid", STORE_OPEN, ""), -1);
	/* 256 characters of four bytes, and one more. */
	for (int i = 0; i < 256; i++)
		memcpy(name + 4 * i, "\xf0\x9f\x98\x80", 4);
	memcpy(name + 1024, "x", 2);
	assert_int_equal(add_room(name, NULL, STORE_OPEN, ""), -1);
	name[1024] = '\0';
	assert_int_equal(add_room(name, NULL, STORE_OPEN, ""), 0);
}

static void
test_members(void **state)
{
	(void)state;
	assert_int_equal(add_user("sip:ann@example.test", "Ann", "x"), 0);
	assert_int_equal(add_room("Ops", GUID, STORE_SECRET, ""), 0);
	assert_int_equal(add_room("Lab", NULL, STORE_SECRET, ""), 0);
	assert_int_equal(add_member("Nowhere", "sip:ann@example.test"), -1);
	assert_non_null(strstr(why, "no such room"));
	assert_int_equal(add_member("Ops", "sip:bob@example.test"), -1);
	assert_non_null(strstr(why, "no such user"));
	assert_false(
	    store_is_member(store, room_id(GUID), "sip:ann@example.test"));
	assert_int_equal(add_member("oPs", "sip:Ann@example.test"), 0);
	assert_true(
	    store_is_member(store, room_id(GUID), "sip:ann@example.test"));
	/* By GUID and by URI it is the same room. */
	assert_int_equal(add_member(GUID, "sip:ann@example.test"), -1);
	assert_non_null(strstr(why, "member already"));
	assert_int_equal(
	    add_member("ma-chan://example.test/" GUID, "sip:ann@example.test"),
	    -1);
	assert_non_null(strstr(why, "member already"));
}

/* ---- Pending rows ---- */

struct rows {
	unsigned count;
	unsigned kinds[8];
	char text[8][512];
	uint64_t ids[8];
};

static void
on_row(void *arg, const struct store_pending *p)
{
	struct rows *r = arg;

	assert_true(r->count < 8);
	r->kinds[r->count] = p->kind;
	r->ids[r->count] = p->id;
	(void)snprintf(r->text[r->count], sizeof r->text[0], "%.*s",
	    (int)p->envelope.n, (const char *)p->envelope.p);
	r->count++;
}

static void
test_changes_leave_pending_rows(void **state)
{
	struct rows rows = {0}, after = {0};
	uint64_t number;
	uint32_t boot;
	char id[40], expected[512];

	(void)state;
	assert_int_equal(add_user("sip:ann@example.test", "A \"n", "x"), 0);
	assert_int_equal(add_room("Ops", GUID, STORE_CLOSED, "d\\"), 0);
	assert_int_equal(add_member("Ops", "sip:ann@example.test"), 0);
	assert_int_equal(add_room("Ops", NULL, STORE_CLOSED, ""), -1);
	reopen();
	assert_int_equal(store_each_pending(store, on_row, &rows), 0);
	assert_int_equal(rows.count, 3);
	assert_int_equal(rows.kinds[0], EVENT_USER);
	assert_int_equal(rows.kinds[1], EVENT_ROOM);
	assert_int_equal(rows.kinds[2], EVENT_MEMBER);
	assert_true(payload_get_id(view_text(rows.text[1]), &boot, &number));
	(void)snprintf(
	    id, sizeof id, "%08x-%llu", boot, (unsigned long long)number);
	(void)snprintf(expected, sizeof expected,
	    "{\"v\":1,\"type\":\"room\",\"id\":\"%s\",\"action\":\"add\","
	    "\"room\":\"ma-chan://example.test/" GUID "\","
	    "\"roomname\":\"Ops\",\"privacy\":\"closed\","
	    "\"description\":\"d\\\\\",\"by\":\"uid:0\"}",
	    id);
	assert_string_equal(rows.text[1], expected);
	assert_non_null(strstr(rows.text[0],
	    "\"action\":\"add\",\"user\":\"sip:ann@example.test\","
	    "\"name\":\"A \\\"n\",\"by\":\"uid:0\"}"));
	assert_int_equal(store_find_pending(store, boot, number), rows.ids[1]);
	assert_int_equal(store_find_pending(store, boot, number + 1), 0);
	store_drop_pending(store, rows.ids[1]);
	assert_int_equal(store_each_pending(store, on_row, &after), 0);
	assert_int_equal(after.count, 2);
	for (unsigned i = 0; i < 3; i++) {
		json_t *o = json_loads(rows.text[i], 0, NULL);

		assert_non_null(o);
		json_decref(o);
	}
}

/* ---- What a user sees ---- */

static void
on_room(void *arg, const struct store_room *r, unsigned members)
{
	struct buf *b = arg;

	(void)members;
	buf_printf(b, "%s,", r->name);
}

static void
assert_found(const char *criteria, bool extended, const char *user,
    unsigned limit, const char *expected)
{
	struct buf b = {0};

	assert_int_equal(store_search(store, view_text(criteria), extended,
			     user, limit, on_room, &b),
	    0);
	buf_put_text(&b, "");
	assert_string_equal(b.len == 0 ? "" : buf_text(&b), expected);
	buf_release(&b);
}

static void
test_search_shows_what_may_be_seen(void **state)
{
	static const char ann[] = "sip:ann@example.test";
	static const char bob[] = "sip:bob@example.test";
	struct buf b = {0};

	(void)state;
	assert_int_equal(add_user(ann, "Ann", "x"), 0);
	assert_int_equal(add_room("beta", NULL, STORE_CLOSED, "Kitchen"), 0);
	assert_int_equal(add_room("Alpha", NULL, STORE_OPEN, ""), 0);
	assert_int_equal(add_room("Gamma 100%", NULL, STORE_SECRET, ""), 0);
	assert_int_equal(add_room("\xc3\x84pfel", NULL, STORE_OPEN, ""), 0);
	assert_int_equal(add_member("Gamma 100%", ann), 0);
	assert_found(
	    "", false, ann, 999, "Alpha,beta,Gamma 100%,\xc3\x84pfel,");
	assert_found("", false, bob, 999, "Alpha,beta,\xc3\x84pfel,");
	assert_found("", false, ann, 2, "Alpha,beta,");
	assert_found("A", false, bob, 999, "Alpha,beta,");
	assert_found("\xc3\xa4", false, bob, 999, "\xc3\x84pfel,");
	assert_found("%", false, ann, 999, "Gamma 100%,");
	assert_found("kitch", false, ann, 999, "");
	assert_found("kitch", true, ann, 999, "beta,");
	assert_found("' OR 1=1 --", false, bob, 999, "");
	assert_int_equal(store_rooms_of(store, ann, 10, on_room, &b), 0);
	assert_string_equal(buf_text(&b), "Gamma 100%,");
	buf_clear(&b);
	assert_int_equal(store_rooms_of(store, bob, 10, on_room, &b), 0);
	assert_int_equal(b.len, 0);
	buf_release(&b);
}

/* ---- History, joined, position ---- */

static void
on_message(void *arg, const struct store_message *m)
{
	buf_printf(arg, "%llu:%.*s@%llu ", (unsigned long long)m->chat,
	    (int)m->text.n, (const char *)m->text.p, (unsigned long long)m->at);
}

static void
test_history(void **state)
{
	struct buf b = {0};
	struct store_room r;
	uint64_t ops, other;

	(void)state;
	assert_int_equal(add_room("Ops", GUID, STORE_OPEN, ""), 0);
	assert_int_equal(
	    add_room("Other", "11111111-aaaa-4000-8000-000000000002",
		STORE_OPEN, ""),
	    0);
	ops = room_id(GUID);
	other = room_id("11111111-aaaa-4000-8000-000000000002");
	for (uint64_t i = 1; i <= 5; i++) {
		const struct store_message m = {.chat = i,
		    .at = 100 + i,
		    .author = "sip:ann@example.test",
		    .text = view_text(i == 3 ? "" : "t")};

		store_put_post(store, 2 * i, ops, &m);
		store_put_post(store, 2 * i + 1, other, &m);
		/* Told again it is still there once. */
		store_put_post(store, 2 * i, ops, &m);
	}
	assert_false(store_failed(store));
	assert_int_equal(store_history(store, ops, 3, on_message, &b), 0);
	assert_string_equal(buf_text(&b), "3:@103 4:t@104 5:t@105 ");
	buf_clear(&b);
	assert_int_equal(store_history(store, ops, 0, on_message, &b), 0);
	assert_int_equal(b.len, 0);
	assert_int_equal(store_history(store, 99, 10, on_message, &b), 0);
	assert_int_equal(b.len, 0);
	buf_release(&b);
	reopen();
	assert_true(store_room_get(store, view_text(GUID), &r));
	assert_int_equal(r.last_chat, 5);
	assert_string_equal(r.uri, "ma-chan://example.test/" GUID);
	store_room_release(&r);
}

/* Purged messages leave; the numbers of the rooms go on. */
static void
test_purged(void **state)
{
	struct buf b = {0};
	struct store_room r;
	uint64_t ops;

	(void)state;
	assert_int_equal(add_room("Ops", GUID, STORE_OPEN, ""), 0);
	ops = room_id(GUID);
	for (uint64_t i = 1; i <= 5; i++) {
		const struct store_message m = {.chat = i,
		    .at = i,
		    .author = "sip:ann@example.test",
		    .text = view_text("t")};

		store_put_post(store, 2 * i, ops, &m);
	}
	assert_int_equal(store_gone(store), 0);
	assert_false(store_purge(store, 20, view_text("2-4,x")));
	assert_true(store_purge(store, 30, view_text("2-4,10-99")));
	assert_int_equal(store_commit(store), 0);
	assert_int_equal(store_wipe(store), 0);
	reopen();
	assert_int_equal(store_gone(store), 31);
	assert_int_equal(store_history(store, ops, 9, on_message, &b), 0);
	assert_string_equal(buf_text(&b), "3:t@3 4:t@4 ");
	buf_release(&b);
	assert_true(store_room_get(store, view_text(GUID), &r));
	assert_int_equal(r.last_chat, 5);
	store_room_release(&r);
	assert_true(store_purge(store, 40, view_text("0-9")));
	assert_true(store_room_get(store, view_text(GUID), &r));
	assert_int_equal(r.last_chat, 5);
	store_room_release(&r);
}

static void
on_joined(void *arg, const struct store_joined *j)
{
	buf_printf(arg, "%llu %s %s %s %s %s\n", (unsigned long long)j->seq,
	    j->room_uri, j->room_name, j->user, j->name, j->device);
}

static void
test_joined(void **state)
{
	struct buf b = {0};
	uint64_t ops;

	(void)state;
	assert_int_equal(add_room("Ops", GUID, STORE_OPEN, ""), 0);
	ops = room_id(GUID);
	store_put_joined(store, 7, ops, "sip:a@example.test", "A", "d1");
	store_put_joined(store, 8, ops, "sip:a@example.test", "A", "d2");
	store_drop_joined(store, 7);
	store_drop_joined(store, 99);
	reopen();
	assert_int_equal(store_each_joined(store, on_joined, &b), 0);
	assert_string_equal(buf_text(&b),
	    "8 ma-chan://example.test/" GUID " Ops sip:a@example.test A d2\n");
	buf_release(&b);
}

static void
test_position_goes_with_its_changes(void **state)
{
	(void)state;
	assert_int_equal(store_applied(store), 0);
	store_set_applied(store, 5);
	assert_true(store_dirty(store));
	assert_int_equal(store_commit(store), 0);
	assert_false(store_dirty(store));
	assert_true(store_sync_fd(store) >= 0);
	assert_int_equal(store_applied(reopen()), 5);
}

/* A write that fails takes the position back to what is in the file. */
static void
test_failure_is_remembered(void **state)
{
	const struct store_message m = {.chat = 1,
	    .at = 1,
	    .author = "sip:a@example.test",
	    .text = view_text("t")};
	const struct store_message broken = {.chat = 2,
	    .at = 1,
	    .author = "a",
	    .text = {.p = (const uint8_t *)"t", .n = SIZE_MAX / 2}};
	struct buf b = {0};

	(void)state;
	assert_int_equal(add_room("Ops", GUID, STORE_OPEN, ""), 0);
	store_set_applied(store, 3);
	assert_int_equal(store_commit(store), 0);
	store_put_post(store, 3, 1, &m);
	store_set_applied(store, 4);
	store_put_post(store, 4, 1, &broken);
	assert_true(store_failed(store));
	assert_int_equal(store_applied(store), 3);
	store_set_applied(store, 9);
	assert_int_equal(store_applied(store), 3);
	assert_int_equal(store_commit(store), -1);
	assert_int_equal(store_recover(store), 0);
	assert_false(store_failed(store));
	assert_int_equal(store_applied(store), 3);
	assert_int_equal(store_history(store, 1, 9, on_message, &b), 0);
	assert_int_equal(b.len, 0);
	store_put_post(store, 3, 1, &m);
	assert_int_equal(store_history(store, 1, 9, on_message, &b), 0);
	assert_true(b.len > 0);
	buf_release(&b);
}

static void
test_replay_restores_rooms_and_users(void **state)
{
	struct store_user u;
	struct store_room r;

	(void)state;
	store_replay_user(store, "sip:ann@example.test", "Ann");
	store_replay_room(store, view_text(GUID), "Ops", "d", STORE_SECRET);
	store_replay_room(store, view_text(GUID), "Ops", "d", STORE_SECRET);
	store_replay_room(store, view_text("nonsense"), "No", "", STORE_OPEN);
	assert_true(store_room_get(store, view_text(GUID), &r));
	assert_int_equal(r.privacy, STORE_SECRET);
	store_replay_member(store, r.id, "sip:ann@example.test");
	store_replay_member(store, r.id, "sip:ann@example.test");
	assert_true(store_is_member(store, r.id, "sip:ann@example.test"));
	store_room_release(&r);
	assert_true(store_user_get(store, "sip:ann@example.test", &u));
	assert_false(u.has_password);
	store_user_release(&u);
	/* It does not undo what is known. */
	assert_int_equal(add_user("sip:bob@example.test", "Bob", "x"), 0);
	store_replay_user(store, "sip:bob@example.test", "Bob");
	assert_true(store_user_get(store, "sip:bob@example.test", &u));
	assert_true(u.has_password);
	store_user_release(&u);
	assert_false(store_failed(store));
}

static void
test_payload_ids(void **state)
{
	struct buf b = {0};
	uint64_t number;
	uint32_t boot;

	(void)state;
	payload_put_head(&b, EVENT_POST, 0x0a1b2c3d, 17);
	assert_string_equal(
	    buf_text(&b), "{\"v\":1,\"type\":\"post\",\"id\":\"0a1b2c3d-17\"");
	assert_true(payload_get_id(buf_view(&b), &boot, &number));
	assert_int_equal(boot, 0x0a1b2c3d);
	assert_int_equal(number, 17);
	for (size_t n = 0; n < b.len; n++) {
		char *cut = malloc(n == 0 ? 1 : n);

		assert_non_null(cut);
		memcpy(cut, b.data, n);
		assert_false(payload_get_id(view_of(cut, n), &boot, &number));
		free(cut);
	}
	buf_release(&b);
}

static int
make_folder(void **state)
{
	(void)state;
	crypto_init();
	return mkdtemp(folder) == NULL;
}

static int
remove_folder(void **state)
{
	(void)state;
	return rmdir(folder);
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(test_the_file_is_private),
	    TEST(test_credentials),
	    TEST(test_users_are_checked),
	    TEST(test_rooms_are_checked),
	    TEST(test_members),
	    TEST(test_changes_leave_pending_rows),
	    TEST(test_search_shows_what_may_be_seen),
	    TEST(test_history),
	    TEST(test_purged),
	    TEST(test_joined),
	    TEST(test_position_goes_with_its_changes),
	    TEST(test_failure_is_remembered),
	    TEST(test_replay_restores_rooms_and_users),
	    cmocka_unit_test(test_payload_ids),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
