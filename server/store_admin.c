#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/text.h"
#include "compliance/event.h"
#include "server/payload.h"
#include "server/store_db.h"
#include "server/xccos_put.h"

#define NAME_CHARS_MAX 256
#define LOCAL_PART_MAX 64
#define PASSWORD_MAX 256

static const char *const privacy_names[] = {
    [STORE_OPEN] = "open",
    [STORE_CLOSED] = "closed",
    [STORE_SECRET] = "secret",
};

const char *
store_privacy_name(enum store_privacy p)
{
	return privacy_names[p];
}

bool
store_privacy_of(struct view name, enum store_privacy *out)
{
	for (unsigned i = 0; i < 3; i++) {
		if (!view_is(name, privacy_names[i]))
			continue;
		*out = (enum store_privacy)i;
		return true;
	}
	return false;
}

static int
refuse(char *why, size_t why_len, const char *what, const char *reason)
{
	(void)snprintf(why, why_len, "%s: %s", what, reason);
	return -1;
}

static int
refuse_db(struct store *s, char *why, size_t why_len)
{
	return refuse(why, why_len, s->path,
	    s->failed ? "cannot be written" : sqlite3_errmsg(s->db));
}

/* Characters, not bytes; of text that is valid UTF-8. */
static size_t
characters(struct view v)
{
	size_t n = 0;

	for (size_t i = 0; i < v.n; i++)
		if ((v.p[i] & 0xc0) != 0x80)
			n++;
	return n;
}

/* Text for one line that clients and the journal can carry. */
static const char *
wrong_line(const char *text)
{
	struct view v = view_text(text);

	if (!xccos_put_able(v))
		return "is not UTF-8 text";
	if (characters(v) > NAME_CHARS_MAX)
		return "is longer than 256 characters";
	return text_is_line(v) ? NULL : "holds a control character";
}

static const char *
wrong_room_name(const char *name)
{
	size_t n = strlen(name);

	if (n == 0)
		return "a room needs a name";
	if (name[0] == ' ' || name[n - 1] == ' ')
		return "begins or ends with a blank";
	return wrong_line(name);
}

static bool
is_local_part(const char *p, size_t n)
{
	if (n == 0 || n > LOCAL_PART_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)p[i]) &&
		    (p[i] == '\0' || strchr("-_.!~*'()&=+$,", p[i]) == NULL))
			return false;
	return true;
}

/* Lower case "sip:local@domain"; NULL when uri is no user of the domain. */
static char *
canonical_user(const struct store *s, const char *uri)
{
	const char *at = strchr(uri, '@');
	char *out;

	if (strncasecmp(uri, "sip:", 4) != 0 || at == NULL ||
	    !is_local_part(uri + 4, (size_t)(at - uri) - 4) ||
	    strcasecmp(at + 1, s->domain) != 0)
		return NULL;
	out = strdup(uri);
	for (char *p = out; p != NULL && *p != '\0'; p++)
		*p = (char)tolower((unsigned char)*p);
	return out;
}

/* HA1 of RFC 7616: user:realm:password. False when out of memory. */
static bool
bind_credentials(const struct store *s, sqlite3_stmt *st, const char *user,
    const char *password)
{
	uint8_t md5[CRYPTO_MD5_LEN], sha256[CRYPTO_SHA256_LEN];
	struct buf b = {0};
	bool ok;

	if (password == NULL)
		return true;
	buf_put_text(&b, user + strlen("sip:"));
	buf_put_u8(&b, ':');
	buf_put_text(&b, s->domain);
	buf_put_u8(&b, ':');
	buf_put_text(&b, password);
	ok = !b.failed;
	if (ok) {
		crypto_md5(b.data, b.len, md5);
		crypto_sha256(b.data, b.len, sha256);
		ok = sqlite3_bind_blob(st, 3, md5, sizeof md5,
			 SQLITE_TRANSIENT) == SQLITE_OK &&
		    sqlite3_bind_blob(st, 4, sha256, sizeof sha256,
			SQLITE_TRANSIENT) == SQLITE_OK;
		crypto_wipe(b.data, b.len);
	}
	buf_release(&b);
	return ok;
}

int
store_add_pending(struct store *s, unsigned kind, struct view tail)
{
	sqlite3_stmt *st = store_statement(s, STORE_ADD_PENDING);
	struct buf json = {0};
	uint8_t random[12];
	uint32_t boot = 0;
	uint64_t number = 0;
	int result = -1;

	crypto_random(random, sizeof random);
	for (unsigned i = 0; i < 4; i++)
		boot = boot << 8 | random[i];
	for (unsigned i = 4; i < 10; i++)
		number = number << 8 | random[i];
	payload_put_head(&json, kind, boot, number);
	buf_put_view(&json, tail);
	if (!json.failed && st != NULL) {
		store_bind_u64(st, 1, boot);
		store_bind_u64(st, 2, number);
		store_bind_u64(st, 3, kind);
		store_bind_view(st, 4, buf_view(&json));
		result = store_write(s, st);
	}
	buf_release(&json);
	return result;
}

/* The row of pending, the commit and its sync; the tail is released. */
static int
finish(
    struct store *s, unsigned kind, struct buf *tail, char *why, size_t why_len)
{
	int result = -1;

	if (!tail->failed && store_add_pending(s, kind, buf_view(tail)) == 0 &&
	    store_commit_now(s) == 0)
		result = 0;
	else
		(void)refuse_db(s, why, why_len);
	buf_release(tail);
	return result;
}

/* What came before is committed, so that a failure loses nothing of it. */
static int
start(struct store *s, char *why, size_t why_len)
{
	if (store_commit(s) != 0 || store_begin(s) != 0)
		return refuse_db(s, why, why_len);
	return 0;
}

int
store_user_add(struct store *s, const char *uri, const char *name,
    const char *password, const char *by, char *why, size_t why_len)
{
	char *user = canonical_user(s, uri);
	const char *wrong = wrong_line(name);
	struct store_user known;
	struct buf tail = {0};
	sqlite3_stmt *st;
	bool bound = true;
	int result = -1;

	if (user == NULL)
		return refuse(why, why_len, uri,
		    "is not of the form sip:name@domain for this domain");
	if (wrong != NULL)
		(void)refuse(why, why_len, "display name", wrong);
	else if (password != NULL &&
	    (*password == '\0' || strlen(password) > PASSWORD_MAX))
		(void)refuse(
		    why, why_len, "password", "must have 1 to 256 bytes");
	else if (store_user_get(s, user, &known)) {
		store_user_release(&known);
		(void)refuse(why, why_len, user, "exists already");
	} else if (start(s, why, why_len) == 0) {
		st = store_statement(s, STORE_ADD_USER);
		if (st != NULL) {
			store_bind_text(st, 1, user);
			store_bind_text(st, 2, name);
			bound = bind_credentials(s, st, user, password);
		}
		if (bound && store_write(s, st) == 0) {
			payload_put_user(&tail, user, name, by);
			result = finish(s, EVENT_USER, &tail, why, why_len);
		} else {
			(void)refuse_db(s, why, why_len);
		}
	}
	free(user);
	return result;
}

static bool
get_user_row(sqlite3_stmt *st, struct store_user *out)
{
	*out = (struct store_user){
	    .uri = strdup(store_text(st, 0)),
	    .name = strdup(store_text(st, 1)),
	};
	if (sqlite3_column_bytes(st, 2) == CRYPTO_MD5_LEN &&
	    sqlite3_column_bytes(st, 3) == CRYPTO_SHA256_LEN) {
		memcpy(
		    out->ha1_md5, sqlite3_column_blob(st, 2), CRYPTO_MD5_LEN);
		memcpy(out->ha1_sha256, sqlite3_column_blob(st, 3),
		    CRYPTO_SHA256_LEN);
		out->has_password = true;
	}
	if (out->uri != NULL && out->name != NULL)
		return true;
	store_user_release(out);
	return false;
}

bool
store_user_get(struct store *s, const char *uri, struct store_user *out)
{
	char *user = canonical_user(s, uri);
	sqlite3_stmt *st = store_statement(s, STORE_GET_USER);
	bool found = false;

	if (user != NULL && st != NULL) {
		store_bind_text(st, 1, user);
		if (sqlite3_step(st) == SQLITE_ROW)
			found = get_user_row(st, out);
		(void)sqlite3_reset(st);
	}
	free(user);
	return found;
}

void
store_user_release(struct store_user *u)
{
	free(u->uri);
	free(u->name);
	crypto_wipe(u->ha1_md5, sizeof u->ha1_md5);
	crypto_wipe(u->ha1_sha256, sizeof u->ha1_sha256);
	*u = (struct store_user){0};
}

int
store_users(struct store *s, store_user_cb *cb, void *arg)
{
	sqlite3_stmt *st = store_statement(s, STORE_LIST_USERS);
	struct store_user u;
	int rc = SQLITE_ERROR;

	while (st != NULL && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		if (!get_user_row(st, &u))
			break;
		cb(arg, &u);
		store_user_release(&u);
	}
	(void)sqlite3_reset(st);
	return rc == SQLITE_DONE ? 0 : -1;
}

/* Made lower case into out; false: no UUID. */
static bool
canonical_guid(const char *guid, char out[37])
{
	if (!text_is_uuid(view_text(guid)))
		return false;
	for (size_t i = 0; i <= 36; i++)
		out[i] = (char)tolower((unsigned char)guid[i]);
	return true;
}

static void
bind_room(sqlite3_stmt *st, struct buf keys[2], const struct store_room *r)
{
	store_fold(&keys[0], view_text(r->name));
	store_fold(&keys[1], view_text(r->description));
	store_bind_text(st, 1, r->guid);
	store_bind_text(st, 2, r->name);
	store_bind_view(st, 3, buf_view(&keys[0]));
	store_bind_text(st, 4, r->description);
	store_bind_view(st, 5, buf_view(&keys[1]));
	store_bind_u64(st, 6, (uint64_t)r->privacy);
}

static int
write_room(
    struct store *s, enum store_statement which, const struct store_room *r)
{
	sqlite3_stmt *st = store_statement(s, which);
	struct buf keys[2] = {{0}, {0}};
	int result;

	if (st != NULL)
		bind_room(st, keys, r);
	result = store_write(s, st);
	buf_release(&keys[0]);
	buf_release(&keys[1]);
	return result;
}

/* The room with that GUID, or with that name whatever the case. */
static bool
find_room(
    struct store *s, const char *guid, const char *name, struct store_room *out)
{
	sqlite3_stmt *st = store_statement(s, STORE_FIND_ROOM);
	struct buf key = {0};
	bool found = false;

	if (st == NULL)
		return false;
	store_fold(&key, view_text(name));
	store_bind_text(st, 1, guid);
	store_bind_view(st, 2, buf_view(&key));
	if (!key.failed && sqlite3_step(st) == SQLITE_ROW)
		found = store_room_of_row(s, st, out);
	(void)sqlite3_reset(st);
	buf_release(&key);
	return found;
}

static const char *
check_room(struct store *s, const char *name, const char *guid,
    const char *description, char guid_out[37])
{
	struct store_room known;
	const char *wrong = wrong_room_name(name);

	if (wrong == NULL)
		wrong = wrong_line(description);
	if (wrong != NULL)
		return wrong;
	if (guid == NULL)
		store_make_guid(guid_out);
	else if (!canonical_guid(guid, guid_out))
		return "the GUID is not of the form 8-4-4-4-12";
	if (!find_room(s, guid_out, name, &known))
		return NULL;
	wrong = strcmp(known.guid, guid_out) == 0
	    ? "a room with that GUID exists already"
	    : "a room with that name exists already";
	store_room_release(&known);
	return wrong;
}

int
store_room_add(struct store *s, const char *name, const char *guid,
    enum store_privacy privacy, const char *description, const char *by,
    struct buf *uri, char *why, size_t why_len)
{
	char canonical[37], *room_uri;
	const char *wrong = check_room(s, name, guid, description, canonical);
	struct store_room r = {
	    .guid = canonical,
	    .name = (char *)(uintptr_t)name,
	    .description = (char *)(uintptr_t)description,
	    .privacy = privacy,
	};
	struct buf tail = {0};
	int result = -1;

	if (wrong != NULL)
		return refuse(why, why_len, name, wrong);
	if (asprintf(&room_uri, "ma-chan://%s/%s", s->domain, canonical) < 0)
		return refuse(why, why_len, name, "out of memory");
	if (start(s, why, why_len) != 0) {
		free(room_uri);
		return -1;
	}
	if (write_room(s, STORE_ADD_ROOM, &r) == 0) {
		const struct payload_room where = {room_uri, name};

		payload_put_room(&tail, &where, store_privacy_name(privacy),
		    description, by);
		result = finish(s, EVENT_ROOM, &tail, why, why_len);
	} else {
		(void)refuse_db(s, why, why_len);
	}
	if (result == 0)
		buf_put_text(uri, room_uri);
	free(room_uri);
	return result;
}

int
store_rooms(struct store *s, store_room_cb *cb, void *arg)
{
	sqlite3_stmt *st = store_statement(s, STORE_LIST_ROOMS);
	struct store_room r;
	int rc = SQLITE_ERROR;

	while (st != NULL && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		if (!store_room_of_row(s, st, &r))
			break;
		cb(arg, &r, (unsigned)sqlite3_column_int(st, 5));
		store_room_release(&r);
	}
	(void)sqlite3_reset(st);
	return rc == SQLITE_DONE ? 0 : -1;
}

static bool
resolve_room(struct store *s, const char *room, struct store_room *out)
{
	size_t domain = strlen(s->domain);
	const char *guid = room;
	char canonical[37];

	if (strncasecmp(room, "ma-chan://", 10) == 0 &&
	    strncasecmp(room + 10, s->domain, domain) == 0 &&
	    room[10 + domain] == '/')
		guid = room + 10 + domain + 1;
	if (!canonical_guid(guid, canonical))
		canonical[0] = '\0';
	return find_room(s, canonical, room, out);
}

int
store_member_add(struct store *s, const char *room, const char *user,
    const char *by, char *why, size_t why_len)
{
	struct store_user u;
	struct store_room r;
	struct buf tail = {0};
	sqlite3_stmt *st;
	int result = -1;

	if (!text_utf8_valid(view_text(room)) || !resolve_room(s, room, &r))
		return refuse(why, why_len, room, "there is no such room");
	if (!store_user_get(s, user, &u)) {
		store_room_release(&r);
		return refuse(why, why_len, user, "there is no such user");
	}
	if (store_is_member(s, r.id, u.uri)) {
		(void)refuse(why, why_len, u.uri, "is a member already");
	} else if (start(s, why, why_len) == 0) {
		st = store_statement(s, STORE_ADD_MEMBER);
		if (st != NULL) {
			store_bind_u64(st, 1, r.id);
			store_bind_text(st, 2, u.uri);
		}
		if (store_write(s, st) == 0) {
			const struct payload_room where = {r.uri, r.name};

			payload_put_member(&tail, &where, u.uri, by);
			result = finish(s, EVENT_MEMBER, &tail, why, why_len);
		} else {
			(void)refuse_db(s, why, why_len);
		}
	}
	store_user_release(&u);
	store_room_release(&r);
	return result;
}

void
store_replay_user(struct store *s, const char *uri, const char *name)
{
	sqlite3_stmt *st;

	if (store_begin(s) != 0)
		return;
	st = store_statement(s, STORE_REPLAY_USER);
	if (st != NULL) {
		store_bind_text(st, 1, uri);
		store_bind_text(st, 2, name);
	}
	(void)store_write(s, st); /* remembered in the store */
}

void
store_replay_room(struct store *s, struct view guid, const char *name,
    const char *description, enum store_privacy privacy)
{
	char *text = view_dup(guid);
	char canonical[37];
	const struct store_room r = {
	    .guid = canonical,
	    .name = (char *)(uintptr_t)name,
	    .description = (char *)(uintptr_t)description,
	    .privacy = privacy,
	};

	if (text != NULL && canonical_guid(text, canonical) &&
	    store_begin(s) == 0)
		(void)write_room(s, STORE_REPLAY_ROOM, &r); /* remembered */
	free(text);
}

void
store_replay_member(struct store *s, uint64_t room, const char *user)
{
	sqlite3_stmt *st;

	if (store_begin(s) != 0)
		return;
	st = store_statement(s, STORE_ADD_MEMBER);
	if (st != NULL) {
		store_bind_u64(st, 1, room);
		store_bind_text(st, 2, user);
	}
	(void)store_write(s, st); /* remembered in the store */
}
