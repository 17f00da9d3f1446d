#ifndef TESTS_UNIT_VERIFY_FIXTURE_H
#define TESTS_UNIT_VERIFY_FIXTURE_H

/*
 * A journal written by hand for the verifier's tests, from the words of
 * chancery-journal(5) alone: nothing of compliance/ is used. The tree is
 * recomputed from all leaves by the recursive definition of RFC 6962.
 */

#include <assert.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/crypto.h"
#include "base/text.h"

#define FIX_MAX 70000
#define FIX_ORIGIN "example.test/journal/0a1b2c3d"
#define FIX_UUID "0a1b2c3d-0000-4000-8000-00000000beef"
/* SHA-256 of nobody's key. */
#define FIX_NEXT                                                               \
	"00000000000000000000000000000000000000000000000000000000000000ff"
#define FIX_START UINT64_C(1795000000000000)

/* The fields of a policy record after the first two. */
#define POLICY_REST "approvals 0\nquorum 0\nwitnesses -\nstamp no\nclasses -\n"

struct fix_part {
	uint8_t salt[32];
	char *data;
};

struct fix_record {
	unsigned kind;
	char *leaf;
	uint8_t hash[32];
	unsigned parts;
	struct fix_part part[2];
	uint64_t at;
	bool purged;
};

struct fix {
	struct fix_record *rec;
	uint64_t n;
	struct crypto_key *key;
	uint8_t public[32];
	char vkey[256];
	char origin[128];
	uint64_t stored[16]; /* sizes of checkpoint rows */
	size_t stored_count;
	uint64_t note_size;       /* of the head's note; 0: none */
	struct buf sql;           /* rows of batch, ack, purge_range */
	const struct fix *former; /* signs checkpoints up to `turn` */
	uint64_t turn;
};

static inline void
fix_hash2(const uint8_t l[32], const uint8_t r[32], uint8_t out[32])
{
	uint8_t b[65] = {1};

	memcpy(b + 1, l, 32);
	memcpy(b + 33, r, 32);
	crypto_sha256(b, 65, out);
}

/* MTH of RFC 6962 section 2.1 over records first..first+n-1. */
static inline void
fix_mth(const struct fix *f, uint64_t first, uint64_t n, uint8_t out[32])
{
	uint8_t l[32], r[32];
	uint64_t k = 1;

	if (n == 0) {
		crypto_sha256("", 0, out);
		return;
	}
	if (n == 1) {
		memcpy(out, f->rec[first].hash, 32);
		return;
	}
	while (k * 2 < n)
		k *= 2;
	fix_mth(f, first, k, l);
	fix_mth(f, first + k, n - k, r);
	fix_hash2(l, r, out);
}

static inline void
fix_init(struct fix *f, uint8_t seed_byte)
{
	uint8_t seed[32], id[32];
	struct buf b;

	crypto_init();
	memset(f, 0, sizeof(*f));
	memset(seed, seed_byte, sizeof(seed));
	f->rec = calloc(FIX_MAX, sizeof(*f->rec));
	f->key = crypto_key_new(seed);
	assert(f->rec != NULL && f->key != NULL);
	crypto_key_public(f->key, f->public);
	snprintf(f->origin, sizeof(f->origin), "%s", FIX_ORIGIN);
	buf_init(&b);
	buf_printf(&b, "%s\n", f->origin);
	buf_put_u8(&b, 1);
	buf_put(&b, f->public, 32);
	crypto_sha256(b.data, b.len, id);
	buf_clear(&b);
	buf_printf(
	    &b, "%s+%02x%02x%02x%02x+", f->origin, id[0], id[1], id[2], id[3]);
	seed[0] = 1;
	{
		uint8_t alg_key[33] = {1};

		memcpy(alg_key + 1, f->public, 32);
		text_put_base64(&b, alg_key, 33);
	}
	snprintf(f->vkey, sizeof(f->vkey), "%s", buf_text(&b));
	buf_release(&b);
	buf_init(&f->sql);
}

static inline void
fix_free(struct fix *f)
{
	for (uint64_t i = 0; i < f->n; i++) {
		free(f->rec[i].leaf);
		free(f->rec[i].part[0].data);
		free(f->rec[i].part[1].data);
	}
	free(f->rec);
	crypto_key_free(f->key);
	buf_release(&f->sql);
}

/* A note over the first `size` records. */
static inline void
fix_note(const struct fix *f, uint64_t size, struct buf *out)
{
	const struct fix *s = size <= f->turn ? f->former : f;
	uint8_t root[32], blob[68], id[32];
	struct buf b;

	fix_mth(f, 0, size, root);
	f = s != NULL ? s : f;
	buf_printf(out, "%s\n%" PRIu64 "\n", f->origin, size);
	text_put_base64(out, root, 32);
	buf_put_text(out, "\n");
	assert(crypto_sign(f->key, out->data, out->len, blob + 4));
	buf_init(&b);
	buf_printf(&b, "%s\n", f->origin);
	buf_put_u8(&b, 1);
	buf_put(&b, f->public, 32);
	crypto_sha256(b.data, b.len, id);
	buf_release(&b);
	memcpy(blob, id, 4);
	buf_printf(out, "\n\xe2\x80\x94 %s ", f->origin);
	text_put_base64(out, blob, sizeof(blob));
	buf_put_text(out, "\n");
}

static inline void
fix_seal(struct fix *f, struct buf *b)
{
	struct fix_record *r = &f->rec[f->n];
	uint8_t *bytes = malloc(b->len + 1);

	assert(bytes != NULL && f->n < FIX_MAX);
	bytes[0] = 0;
	memcpy(bytes + 1, b->data, b->len);
	crypto_sha256(bytes, b->len + 1, r->hash);
	free(bytes);
	r->leaf = strdup(buf_text(b));
	buf_release(b);
	f->n++;
}

static inline void
fix_head(struct fix *f, unsigned kind, struct buf *b)
{
	struct fix_record *r = &f->rec[f->n];

	buf_init(b);
	r->kind = kind;
	r->at = FIX_START + f->n * 1000000 + 17;
	buf_printf(b,
	    "leaf/1 %" PRIu64 " %u\nt %" PRIu64 " %" PRIu64 " 01234abc 0\n",
	    f->n, kind, r->at, 5000 + f->n * 1000000);
}

/* A user event with one or two parts. */
static inline void
fix_event(
    struct fix *f, unsigned kind, const char *envelope, const char *content)
{
	struct fix_record *r = &f->rec[f->n];
	const char *data[2] = {envelope, content};
	struct buf b, c;

	fix_head(f, kind, &b);
	buf_init(&c);
	r->parts = content != NULL ? 2 : 1;
	for (unsigned i = 0; i < r->parts; i++) {
		uint8_t hash[32];

		for (unsigned k = 0; k < 32; k++)
			r->part[i].salt[k] =
			    (uint8_t)(f->n * 37 + i * 101 + k * 7 + 1);
		r->part[i].data = strdup(data[i]);
		buf_clear(&c);
		buf_put_text(&c, "part/1\n");
		buf_put(&c, r->part[i].salt, 32);
		buf_put_text(&c, data[i]);
		crypto_sha256(c.data, c.len, hash);
		buf_printf(&b, "p %u ", i);
		text_put_base64(&b, hash, 32);
		buf_put_text(&b, "\n");
	}
	buf_release(&c);
	fix_seal(f, &b);
}

static inline void __attribute__((format(printf, 3, 4)))
fix_control(struct fix *f, unsigned kind, const char *fmt, ...)
{
	struct buf b;
	va_list ap;

	fix_head(f, kind, &b);
	va_start(ap, fmt);
	buf_vprintf(&b, fmt, ap);
	va_end(ap);
	fix_seal(f, &b);
}

/* A beat that counts what came since the last. */
static inline void
fix_beat(struct fix *f)
{
	unsigned events = 0;

	for (uint64_t i = f->n; i-- > 0;) {
		if (f->rec[i].kind == 133 || f->rec[i].kind == 128)
			break;
		events += f->rec[i].kind < 128;
	}
	fix_control(f, 133,
	    "every 60\nevents %u\nqueue 1\nsync yes\nerror 1\ntai 37\n"
	    "anchor -\n",
	    events);
}

static inline void
fix_post(struct fix *f, const char *text)
{
	char envelope[512], content[512];

	snprintf(envelope, sizeof(envelope),
	    "{\"v\":1,\"type\":\"post\",\"id\":\"0a0b0c0d-%" PRIu64
	    "\",\"room\":\"ma-chan://example.test/11111111-2222-3333-4444-"
	    "555555555555\",\"roomname\":\"Ops\",\"user\":\"sip:ann@example."
	    "test\",\"name\":\"Ann\",\"auth\":\"digest-sha256\",\"device\":"
	    "\"0a1b2c\",\"chat\":%" PRIu64 ",\"client\":\"c%" PRIu64
	    "@host 2\"}",
	    f->n, f->n, f->n);
	snprintf(content, sizeof(content), "{\"v\":1,\"text\":\"%s\"}", text);
	fix_event(f, 3, envelope, content);
}

static inline void
fix_join(struct fix *f, const char *user)
{
	char envelope[512];

	snprintf(envelope, sizeof(envelope),
	    "{\"v\":1,\"type\":\"join\",\"id\":\"0a0b0c0d-%" PRIu64
	    "\",\"room\":\"ma-chan://example.test/11111111-2222-3333-4444-"
	    "555555555555\",\"roomname\":\"Ops\",\"user\":\"sip:%s@example."
	    "test\",\"name\":\"%s\",\"auth\":\"digest-sha256\",\"device\":"
	    "\"0a1b2c\",\"via\":\"tcp\",\"peer\":\"127.0.0.1:5060\"}",
	    f->n, user, user);
	fix_event(f, 1, envelope, NULL);
}

static inline void
fix_open(struct fix *f)
{
	fix_control(f, 128,
	    "journal %s\norigin %s\nvkey %s\nnext %s\n"
	    "software chancery/0.1\nsegment 0\nnote -\n",
	    FIX_UUID, f->origin, f->vkey, FIX_NEXT);
}

static inline void
fix_batch(struct fix *f, const char *adapter, uint64_t n, uint64_t first,
    uint64_t last)
{
	uint64_t seq = f->n;
	uint8_t root[32];
	struct buf b;

	fix_mth(f, 0, seq, root);
	buf_init(&b);
	text_put_base64(&b, root, 32);
	fix_control(f, 129,
	    "adapter %s\nbatch %" PRIu64 "\nfirst %" PRIu64 "\nlast %" PRIu64
	    "\ncount %" PRIu64 "\nsize %" PRIu64 "\nroot %s\n",
	    adapter, n, first, last, last - first + 1, seq, buf_text(&b));
	buf_release(&b);
	buf_printf(&f->sql,
	    "INSERT INTO batch VALUES('%s',%" PRIu64 ",%" PRIu64 ",%" PRIu64
	    ",%" PRIu64 ");",
	    adapter, n, first, last, seq);
}

static inline void
fix_ack(struct fix *f, const char *adapter, uint64_t n, uint64_t first,
    uint64_t last, const char *location, const char *sha256, uint64_t bytes)
{
	buf_printf(&f->sql,
	    "INSERT INTO ack VALUES('%s',%" PRIu64 ",'stored',%" PRIu64 ");",
	    adapter, n, f->n);
	fix_control(f, 130,
	    "adapter %s\nbatch %" PRIu64 "\nfirst %" PRIu64 "\nlast %" PRIu64
	    "\nstate stored\nlocation %s\nsha256 %s\nbytes %" PRIu64
	    "\nreadback yes\n",
	    adapter, n, first, last, location, sha256, bytes);
}

/* Purges the range: the record, the row, and the bodies are left out. */
static inline void
fix_purge_on(struct fix *f, uint64_t n, uint64_t first, uint64_t last,
    const char *acks, const char *hold, const char *approvals)
{
	struct buf b, hex;
	uint8_t digest[32];
	uint64_t count = 0, policy = 0;

	buf_init(&b);
	buf_init(&hex);
	for (uint64_t i = 0; i < f->n; i++)
		if (f->rec[i].kind == 134)
			policy = i;
	for (uint64_t i = first; i <= last; i++) {
		buf_put(&b, f->rec[i].hash, 32);
		count += f->rec[i].kind < 128;
		f->rec[i].purged = true;
	}
	crypto_sha256(b.data, b.len, digest);
	text_put_hex(&hex, digest, 32);
	buf_printf(&f->sql,
	    "INSERT INTO purge_range VALUES(%" PRIu64 ",%" PRIu64 ",%" PRIu64
	    ",%" PRIu64 ");",
	    first, last, n, f->n);
	fix_control(f, 131,
	    "purge %" PRIu64 "\nfirst %" PRIu64 "\nlast %" PRIu64
	    "\ncount %" PRIu64 "\nranges %" PRIu64 "-%" PRIu64
	    "\nleaves %s\nacks %s\nheld 0\nhold %s\napprovals %s\nanchor -\n"
	    "policy %" PRIu64 "\n",
	    n, first, last, count, first, last, buf_text(&hex), acks, hold,
	    approvals, policy);
	buf_release(&b);
	buf_release(&hex);
}

static inline void
fix_purge(
    struct fix *f, uint64_t n, uint64_t first, uint64_t last, const char *acks)
{
	fix_purge_on(f, n, first, last, acks, "-", "-");
}

/* A record that commits to the selector, and its row with these columns. */
static inline void
fix_hold_on(struct fix *f, unsigned n, const char *by, const char *selector,
    const char *columns)
{
	uint8_t salt[32] = {7}, hash[32];
	struct buf b, base64, hex;

	buf_init(&b);
	buf_init(&base64);
	buf_init(&hex);
	buf_put_text(&b, "part/1\n");
	buf_put(&b, salt, 32);
	buf_put_text(&b, selector);
	crypto_sha256(b.data, b.len, hash);
	text_put_base64(&base64, hash, 32);
	text_put_hex(&hex, salt, 32);
	buf_printf(&f->sql,
	    "INSERT INTO hold VALUES(%u,%" PRIu64 ",NULL,x'%s','%s',%s);", n,
	    f->n, buf_text(&hex), selector, columns);
	fix_control(f, 138, "hold %u\nmatter m\nselector %s\nby %s\n", n,
	    buf_text(&base64), by);
	buf_release(&b);
	buf_release(&base64);
	buf_release(&hex);
}

static inline void
fix_release(struct fix *f, unsigned n, const char *by)
{
	buf_printf(&f->sql,
	    "UPDATE hold SET released=%" PRIu64
	    " WHERE n=%u AND released IS NULL;",
	    f->n, n);
	fix_control(f, 139, "hold %u\nby %s\n", n, by);
}

static inline void
fix_run(sqlite3 *db, const char *sql)
{
	char *error = NULL;

	if (sqlite3_exec(db, sql, NULL, NULL, &error) != SQLITE_OK) {
		fprintf(stderr, "fixture: %s: %s\n", sql, error);
		abort();
	}
}

static inline void
fix_bind(sqlite3_stmt *s, int i, const void *p, size_t n)
{
	sqlite3_bind_blob(s, i, p, (int)n, SQLITE_TRANSIENT);
}

static inline void
fix_step(sqlite3_stmt *s)
{
	if (sqlite3_step(s) != SQLITE_DONE)
		abort();
	sqlite3_reset(s);
}

static inline sqlite3_stmt *
fix_prepare(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *s = NULL;

	if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK) {
		fprintf(stderr, "fixture: %s: %s\n", sql, sqlite3_errmsg(db));
		abort();
	}
	return s;
}

/* Tiles of one level whose entries cover `span` records each. */
static inline void
fix_tiles(const struct fix *f, sqlite3 *db, int level, uint64_t span)
{
	sqlite3_stmt *s = fix_prepare(db, "INSERT INTO tile VALUES(?,?,?)");
	uint8_t data[8192];

	for (uint64_t t = 0; (t + 1) * 256 * span <= f->n; t++) {
		for (uint64_t e = 0; e < 256; e++)
			fix_mth(f, (t * 256 + e) * span, span, data + e * 32);
		sqlite3_bind_int(s, 1, level);
		sqlite3_bind_int64(s, 2, (sqlite3_int64)t);
		fix_bind(s, 3, data, sizeof(data));
		fix_step(s);
	}
	sqlite3_finalize(s);
}

static const char fix_schema[] =
    "PRAGMA application_id=1128812099; PRAGMA user_version=2;"
    "CREATE TABLE meta(name TEXT PRIMARY KEY,value TEXT) STRICT;"
    "CREATE TABLE leaf(seq INTEGER PRIMARY KEY,at INTEGER,kind INTEGER,"
    " bytes BLOB) STRICT;"
    "CREATE INDEX leaf_control ON leaf(kind,seq) WHERE kind>=128;"
    "CREATE TABLE body(id INTEGER PRIMARY KEY,salt BLOB,data BLOB) STRICT;"
    "CREATE TABLE tile(level INTEGER,idx INTEGER,data BLOB,"
    " PRIMARY KEY(level,idx)) WITHOUT ROWID, STRICT;"
    "CREATE TABLE head(id INTEGER PRIMARY KEY,size INTEGER,root BLOB,"
    " note BLOB) STRICT;"
    "CREATE TABLE checkpoint(size INTEGER PRIMARY KEY,note BLOB) STRICT;"
    "CREATE TABLE batch(adapter TEXT,n INTEGER,first INTEGER,last INTEGER,"
    " seq INTEGER,PRIMARY KEY(adapter,n)) STRICT;"
    "CREATE TABLE ack(adapter TEXT,n INTEGER,state TEXT,seq INTEGER,"
    " PRIMARY KEY(adapter,n)) STRICT;"
    "CREATE TABLE cosig(size INTEGER,name TEXT,line BLOB,at INTEGER,"
    " PRIMARY KEY(size,name)) WITHOUT ROWID, STRICT;"
    "CREATE TABLE hold(n INTEGER PRIMARY KEY,seq INTEGER,released INTEGER,"
    " salt BLOB,selector TEXT,room TEXT,user TEXT,since INTEGER,"
    " until INTEGER) STRICT;"
    "CREATE TABLE purge_range(first INTEGER PRIMARY KEY,last INTEGER,"
    " n INTEGER,seq INTEGER) STRICT;"
    "CREATE TABLE stamp(size INTEGER PRIMARY KEY,at INTEGER,token BLOB) STRICT;";

static inline void
fix_write_records(const struct fix *f, sqlite3 *db)
{
	sqlite3_stmt *leaf, *body;

	leaf = fix_prepare(db, "INSERT INTO leaf VALUES(?,?,?,?)");
	body = fix_prepare(db, "INSERT INTO body VALUES(?,?,?)");
	for (uint64_t i = 0; i < f->n; i++) {
		const struct fix_record *r = &f->rec[i];

		sqlite3_bind_int64(leaf, 1, (sqlite3_int64)i);
		sqlite3_bind_int64(leaf, 2, (sqlite3_int64)r->at);
		sqlite3_bind_int(leaf, 3, (int)r->kind);
		fix_bind(leaf, 4, r->leaf, strlen(r->leaf));
		fix_step(leaf);
		for (unsigned p = 0; p < r->parts && !r->purged; p++) {
			sqlite3_bind_int64(
			    body, 1, (sqlite3_int64)(i * 256 + p));
			fix_bind(body, 2, r->part[p].salt, 32);
			fix_bind(
			    body, 3, r->part[p].data, strlen(r->part[p].data));
			fix_step(body);
		}
	}
	sqlite3_finalize(leaf);
	sqlite3_finalize(body);
}

/* Writes the journal to path, which must not exist. */
static inline void
fix_write(const struct fix *f, const char *path)
{
	const struct fix *first = f->former != NULL ? f->former : f;
	sqlite3_stmt *s;
	sqlite3 *db;
	uint8_t root[32];
	struct buf b;

	if (sqlite3_open(path, &db) != SQLITE_OK)
		abort();
	fix_run(db, "PRAGMA synchronous=OFF; BEGIN;");
	fix_run(db, fix_schema);
	fix_write_records(f, db);
	fix_tiles(f, db, 0, 1);
	fix_tiles(f, db, 1, 256);
	buf_init(&b);
	s = fix_prepare(db, "INSERT INTO checkpoint VALUES(?,?)");
	for (size_t i = 0; i < f->stored_count; i++) {
		buf_clear(&b);
		fix_note(f, f->stored[i], &b);
		sqlite3_bind_int64(s, 1, (sqlite3_int64)f->stored[i]);
		fix_bind(s, 2, b.data, b.len);
		fix_step(s);
	}
	sqlite3_finalize(s);
	s = fix_prepare(db, "INSERT INTO head VALUES(1,?,?,?)");
	fix_mth(f, 0, f->n, root);
	sqlite3_bind_int64(s, 1, (sqlite3_int64)f->n);
	fix_bind(s, 2, root, 32);
	buf_clear(&b);
	if (f->note_size > 0) {
		fix_note(f, f->note_size, &b);
		fix_bind(s, 3, b.data, b.len);
	}
	fix_step(s);
	sqlite3_finalize(s);
	s = fix_prepare(db,
	    "INSERT INTO meta VALUES('journal',?1),"
	    "('origin',?2),('vkey',?3),('segment','0'),('first','0')");
	sqlite3_bind_text(s, 1, FIX_UUID, -1, SQLITE_STATIC);
	sqlite3_bind_text(s, 2, first->origin, -1, SQLITE_STATIC);
	sqlite3_bind_text(s, 3, first->vkey, -1, SQLITE_STATIC);
	fix_step(s);
	sqlite3_finalize(s);
	if (f->sql.len > 0) {
		buf_clear(&b);
		buf_put_view(&b, buf_view(&f->sql));
		fix_run(db, buf_text(&b));
	}
	buf_release(&b);
	fix_run(db, "COMMIT");
	sqlite3_close(db);
}

#endif
