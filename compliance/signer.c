#include "compliance/signer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include <uv.h>

#include "base/conf.h"
#include "base/crypto.h"
#include "base/file.h"
#include "base/ipc.h"
#include "base/log.h"
#include "base/process.h"
#include "base/role.h"

#include "compliance/note.h"
#include "compliance/tree.h"
#include "compliance/wire.h"

#define FILE_MAX 1024    /* key and state are far smaller */
#define UNLINKED_MS 5000 /* the parent gives a new link by then, or never */

struct signer {
	char *state_path;
	char *origin;
	struct crypto_key *key;
	uint64_t size;
	uint8_t root[TREE_HASH_LEN];
	int lock;
};

static int __attribute__((format(printf, 3, 4)))
fail(char *why, size_t why_len, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(why, why_len, fmt, ap); /* may cut: words for people */
	va_end(ap);
	return -1;
}

/* ---- making ---- */

/* A state file is the body of the checkpoint that was signed last. */
static int
write_state(const char *path, const char *origin, uint64_t size,
    const uint8_t root[TREE_HASH_LEN], bool replace)
{
	struct buf body;
	int r = -1;

	buf_init(&body);
	note_put_body(&body, view_text(origin), size, root);
	if (body.failed)
		errno = ENOMEM;
	else if (replace)
		r = file_replace(path, buf_view(&body), 0600);
	else
		r = file_create(path, buf_view(&body), 0600);
	buf_release(&body);
	return r;
}

static int
make_files(const char *key_path, const char *state_path, const char *origin,
    struct buf *vkey, char *why, size_t why_len)
{
	uint8_t seed[CRYPTO_SEED_LEN], public[CRYPTO_PUBLIC_LEN];
	uint8_t root[TREE_HASH_LEN];
	struct crypto_key *key;
	struct buf text;
	int r = 0;

	buf_init(&text);
	crypto_random(seed, sizeof seed);
	key = crypto_key_new(seed);
	if (key == NULL) {
		r = fail(why, why_len, "no key can be made");
		goto done;
	}
	crypto_key_public(key, public);
	note_put_skey(&text, view_text(origin), seed, public);
	buf_put_u8(&text, '\n');
	note_put_vkey(vkey, view_text(origin), public);
	tree_empty_root(root);
	if (text.failed || vkey->failed)
		r = fail(why, why_len, "out of memory");
	else if (file_create(key_path, buf_view(&text), 0600) != 0)
		r = fail(why, why_len, "%s: %s", key_path, strerror(errno));
	else if (write_state(state_path, origin, 0, root, false) != 0)
		r = fail(why, why_len, "%s: %s", state_path, strerror(errno));
done:
	crypto_wipe(seed, sizeof seed);
	if (text.data != NULL)
		crypto_wipe(text.data, text.cap);
	buf_release(&text);
	crypto_key_free(key);
	return r;
}

int
signer_init(const char *dir, const char *origin, struct buf *vkey, char *why,
    size_t why_len)
{
	char *key_path = file_join(dir, "key");
	char *state_path = file_join(dir, "state");
	int r;

	if (key_path == NULL || state_path == NULL)
		r = fail(why, why_len, "out of memory");
	else if (!note_name_valid(view_text(origin)))
		r = fail(why, why_len, "%s: not an origin", origin);
	else
		r = make_files(
		    key_path, state_path, origin, vkey, why, why_len);
	free(key_path);
	free(state_path);
	return r;
}

/* ---- opening ---- */

static int
read_key(struct signer *s, const char *path, char *why, size_t why_len)
{
	uint8_t seed[CRYPTO_SEED_LEN], public[CRYPTO_PUBLIC_LEN];
	struct view name;
	struct buf text;
	uint32_t id;
	int r = 0;

	buf_init(&text);
	s->lock = open(path, O_RDONLY | O_CLOEXEC);
	if (s->lock < 0) {
		r = fail(why, why_len, "%s: %s", path, strerror(errno));
		goto done;
	}
	if (flock(s->lock, LOCK_EX | LOCK_NB) != 0) {
		r = fail(why, why_len, "%s: another signer uses it", path);
		goto done;
	}
	if (file_read_fd(s->lock, FILE_MAX, &text) != 0 || text.len == 0 ||
	    text.data[text.len - 1] != '\n' ||
	    !note_parse_skey(
		view_of(text.data, text.len - 1), &name, &id, seed) ||
	    (s->key = crypto_key_new(seed)) == NULL ||
	    (s->origin = view_dup(name)) == NULL) {
		r = fail(why, why_len, "%s: not a signing key", path);
		goto done;
	}
	crypto_key_public(s->key, public);
	if (note_key_id(name, public) != id)
		r = fail(why, why_len, "%s: key and id do not agree", path);
done:
	crypto_wipe(seed, sizeof seed);
	if (text.data != NULL)
		crypto_wipe(text.data, text.cap);
	buf_release(&text);
	return r;
}

static int
read_state(struct signer *s, char *why, size_t why_len)
{
	struct note body;
	struct buf text;
	int r = 0;

	buf_init(&text);
	if (file_read(s->state_path, FILE_MAX, &text) != 0) {
		r = fail(why, why_len,
		    "%s: %s; without it nobody knows what was signed last: "
		    "restore it, or begin a new journal",
		    s->state_path, strerror(errno));
	} else if (!note_parse_body(buf_view(&text), &body) ||
	    !view_is(body.origin, s->origin)) {
		r = fail(why, why_len, "%s: not the state of the key %s",
		    s->state_path, s->origin);
	} else {
		s->size = body.size;
		memcpy(s->root, body.root, sizeof s->root);
	}
	buf_release(&text);
	return r;
}

struct signer *
signer_open(const char *dir, char *why, size_t why_len)
{
	struct signer *s = calloc(1, sizeof *s);
	char *key_path = file_join(dir, "key");

	if (s == NULL || key_path == NULL ||
	    (s->state_path = file_join(dir, "state")) == NULL) {
		(void)fail(why, why_len, "out of memory");
		free(s);
		free(key_path);
		return NULL;
	}
	s->lock = -1;
	if (read_key(s, key_path, why, why_len) != 0 ||
	    read_state(s, why, why_len) != 0) {
		signer_close(s);
		s = NULL;
	}
	free(key_path);
	return s;
}

void
signer_close(struct signer *s)
{
	if (s == NULL)
		return;
	if (s->lock >= 0)
		(void)close(s->lock); /* only read from */
	crypto_key_free(s->key);
	free(s->origin);
	free(s->state_path);
	free(s);
}

void
signer_put_hello(const struct signer *s, struct buf *out)
{
	uint8_t public[CRYPTO_PUBLIC_LEN];

	crypto_key_public(s->key, public);
	buf_put_u64(out, s->size);
	buf_put(out, s->root, sizeof s->root);
	note_put_vkey(out, view_text(s->origin), public);
}

/* ---- signing ---- */

/* Whether the new head adds to what was signed last. */
static bool
grows(const struct signer *s, uint64_t old, uint64_t size, const uint8_t *root,
    struct view proof, char *why, size_t why_len)
{
	const char *reason;

	if (size < s->size)
		reason = "records are missing (rollback)";
	else if (size == s->size && !crypto_equal(root, s->root, TREE_HASH_LEN))
		reason = "another history of the same length (fork)";
	else if (old != s->size)
		reason = "the proof starts elsewhere";
	else if (!tree_consistency_check(s->size, s->root, size, root, proof))
		reason = "the proof does not hold (fork)";
	else
		return true;
	(void)fail(why, why_len,
	    "head of size %" PRIu64 " refused, size %" PRIu64
	    " was signed before: %s",
	    size, s->size, reason);
	return false;
}

static enum signer_verdict
sign_head(struct signer *s, uint64_t size, const uint8_t *root, struct buf *out,
    char *why, size_t why_len)
{
	enum signer_verdict verdict = SIGNER_REFUSED;
	struct buf body;

	/* A crash after this line repeats the same signature later. */
	if (size != s->size &&
	    write_state(s->state_path, s->origin, size, root, true) != 0) {
		(void)fail(
		    why, why_len, "%s: %s", s->state_path, strerror(errno));
		return SIGNER_REFUSED;
	}
	s->size = size;
	memcpy(s->root, root, sizeof s->root);
	buf_init(&body);
	note_put_body(&body, view_text(s->origin), size, root);
	buf_put_u64(out, size);
	if (!body.failed &&
	    note_sign(out, buf_view(&body), view_text(s->origin), s->key))
		verdict = SIGNER_SIGNED;
	else
		(void)fail(why, why_len, "signing failed");
	buf_release(&body);
	return verdict;
}

enum signer_verdict
signer_sign(struct signer *s, struct view request, struct buf *out, char *why,
    size_t why_len)
{
	struct reader r = reader_of(request);
	uint64_t old = reader_u64(&r);
	uint64_t size = reader_u64(&r);
	struct view root = reader_take(&r, TREE_HASH_LEN);
	uint16_t n = reader_u16(&r);
	struct view proof = reader_take(&r, (size_t)n * TREE_HASH_LEN);

	if (!reader_done(&r) || n > TREE_PROOF_MAX) {
		(void)fail(why, why_len, "malformed request");
		return SIGNER_MALFORMED;
	}
	if (!grows(s, old, size, root.p, proof, why, why_len))
		return SIGNER_REFUSED;
	return sign_head(s, size, root.p, out, why, why_len);
}

/* ---- the role ---- */

struct service {
	uv_loop_t loop;
	struct role *role;
	struct signer *signer; /* NULL: refuses all, for the reason in why */
	struct ipc *keeper;
	uv_timer_t unlinked;
	int status;
	char why[512];
};

/* Both ends live but have no link: the parent makes one for a new process. */
static void
on_unlinked(uv_timer_t *timer)
{
	struct service *v = timer->data;

	log_warn("no link to the keeper: starting anew");
	v->status = 3;
	uv_stop(&v->loop);
}

static void
drop_keeper(struct service *v, const char *why)
{
	if (v->keeper == NULL)
		return;
	log_warn("link to the keeper ended: %s", why);
	ipc_free(v->keeper);
	v->keeper = NULL;
	(void)uv_timer_start(&v->unlinked, on_unlinked, UNLINKED_MS, 0);
}

static void
on_closed(void *arg, const char *why)
{
	drop_keeper(arg, why);
}

static void
send_refusal(struct service *v, const char *why)
{
	struct buf *out = ipc_begin(v->keeper, WIRE_REFUSED);

	buf_put_u64(out, 0);
	buf_put_text(out, why);
	ipc_end(v->keeper);
}

static void
on_frame(void *arg, uint16_t type, struct view payload, int fd)
{
	struct service *v = arg;
	char why[256] = "unexpected frame";
	enum signer_verdict verdict = SIGNER_MALFORMED;
	struct buf note;

	if (fd >= 0)
		(void)close(fd); /* no frame of the keeper carries one */
	if (v->signer == NULL) {
		send_refusal(v, v->why);
		return;
	}
	buf_init(&note);
	if (type == WIRE_SIGN && fd < 0)
		verdict =
		    signer_sign(v->signer, payload, &note, why, sizeof why);
	switch (verdict) {
	case SIGNER_SIGNED:
		ipc_send(v->keeper, WIRE_NOTE, buf_view(&note));
		break;
	case SIGNER_REFUSED:
		log_error("%s", why);
		send_refusal(v, why);
		break;
	case SIGNER_MALFORMED:
		drop_keeper(v, why);
		break;
	}
	buf_release(&note);
}

static void
on_link(void *arg, const char *peer, int fd)
{
	struct service *v = arg;

	if (strcmp(peer, "keeper") != 0) {
		log_warn("unexpected link to %s", peer);
		(void)close(fd); /* nothing was written to it */
		return;
	}
	drop_keeper(v, "a new one came");
	(void)uv_timer_stop(&v->unlinked); /* always 0 */
	v->keeper = ipc_new(&v->loop, fd, on_frame, on_closed, v);
	if (v->keeper == NULL)
		log_fatal("link to the keeper: out of memory");
	if (v->signer == NULL) {
		send_refusal(v, v->why);
		return;
	}
	signer_put_hello(v->signer, ipc_begin(v->keeper, WIRE_SIGNER));
	ipc_end(v->keeper);
}

static void
on_stop(void *arg)
{
	struct service *v = arg;

	uv_stop(&v->loop);
}

int
signer_main(const struct conf *conf, int parent_fd)
{
	static struct service v;
	char *dir = conf_state_path(conf, "signer");

	if (dir == NULL || uv_loop_init(&v.loop) != 0)
		log_fatal("out of memory");
	(void)uv_timer_init(&v.loop, &v.unlinked); /* always 0 */
	v.unlinked.data = &v;
	v.role = role_new(&v.loop, parent_fd, on_link, on_stop, &v);
	if (process_drop(conf->user_signer, 64) != 0)
		log_fatal("rights cannot be dropped: %s", strerror(errno));
	v.signer = signer_open(dir, v.why, sizeof v.why);
	if (v.signer == NULL)
		log_error("nothing will be signed: %s", v.why);
	role_ready(v.role);
	(void)uv_run(&v.loop, UV_RUN_DEFAULT); /* until on_stop() */
	if (v.keeper != NULL)
		ipc_flush(v.keeper);
	signer_close(v.signer);
	free(dir);
	return v.status;
}
