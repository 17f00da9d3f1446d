#include "compliance/signer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "base/conf.h"
#include "base/crypto.h"
#include "base/file.h"
#include "base/ipc.h"
#include "base/log.h"
#include "base/process.h"
#include "base/role.h"
#include "base/text.h"

#include "compliance/note.h"
#include "compliance/signer_keys.h"
#include "compliance/tree.h"
#include "compliance/wire.h"

#define FILE_MAX 1024    /* the state is far smaller */
#define AGAIN_MS 1000    /* between tries to open the folder */
#define UNLINKED_MS 5000 /* the parent gives a new link by then, or never */

#define MACHINE_ID "/etc/machine-id"
#define MACHINE_WORD "machine "

struct signer {
	struct signer_keys keys;
	char *state_path;
	uint64_t size;
	uint8_t root[TREE_HASH_LEN];
	char machine[2 * CRYPTO_SHA256_LEN + 1]; /* where this runs */
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

/* ---- the state file ---- */

/* Digest of the machine's id; "-" where there is none. */
static void
read_machine(char out[2 * CRYPTO_SHA256_LEN + 1])
{
	uint8_t hash[CRYPTO_SHA256_LEN];
	struct buf id, hex;
	const char *text = "-";

	buf_init(&id);
	buf_init(&hex);
	errno = 0;
	if (file_read(MACHINE_ID, FILE_MAX, &id) == 0 && id.len >= 32) {
		crypto_sha256(id.data, id.len, hash);
		text_put_hex(&hex, hash, sizeof hash);
		text = hex.failed ? NULL : buf_text(&hex);
	}
	/* Never taken for another machine by mistake. */
	if (text == NULL || errno == ENOMEM)
		log_fatal("out of memory");
	(void)snprintf(out, 2 * CRYPTO_SHA256_LEN + 1, "%s", text);
	buf_release(&hex);
	buf_release(&id);
}

void
signer_put_machine(struct buf *out)
{
	char machine[2 * CRYPTO_SHA256_LEN + 1];

	read_machine(machine);
	buf_printf(out, MACHINE_WORD "%s\n", machine);
}

/* The body of the checkpoint that was signed last, and the machine. */
static int
write_state(const char *path, const char *origin, uint64_t size,
    const uint8_t root[TREE_HASH_LEN], const char *machine, bool replace)
{
	struct buf text;
	int r = -1;

	buf_init(&text);
	note_put_body(&text, view_text(origin), size, root);
	buf_printf(&text, MACHINE_WORD "%s\n", machine);
	if (text.failed)
		errno = ENOMEM;
	else if (replace)
		r = file_replace(path, buf_view(&text), 0600);
	else
		r = file_create(path, buf_view(&text), 0600);
	buf_release(&text);
	return r;
}

/* Splits the last line off. */
static bool
parse_state(struct view text, struct note *body, struct view *machine)
{
	size_t word = strlen(MACHINE_WORD);
	const uint8_t *at;

	if (text.n < 2 || text.p[text.n - 1] != '\n')
		return false;
	at = memrchr(text.p, '\n', text.n - 1);
	if (at == NULL)
		return false;
	*machine = view_of(at + 1, (size_t)(text.p + text.n - at) - 2);
	if (machine->n <= word || memcmp(machine->p, MACHINE_WORD, word) != 0)
		return false;
	*machine = view_of(machine->p + word, machine->n - word);
	return note_parse_body(
	    view_of(text.p, (size_t)(at + 1 - text.p)), body);
}

/* announced NULL: all keys are new. */
static int
make_folder(const char *dir, const char *origin, const char *from,
    const uint8_t *announced, struct buf *vkey, char *why, size_t why_len)
{
	char *state_path = file_join(dir, "state");
	char machine[2 * CRYPTO_SHA256_LEN + 1];
	uint8_t root[TREE_HASH_LEN];
	int r;

	read_machine(machine);
	tree_empty_root(root);
	if (state_path == NULL)
		r = fail(why, why_len, "out of memory");
	else if (!note_name_valid(view_text(origin)))
		r = fail(why, why_len, "%s: not an origin", origin);
	else if (announced != NULL)
		r = signer_keys_follow(
		    dir, origin, from, announced, vkey, why, why_len);
	else
		r = signer_keys_make(dir, origin, 0, vkey, why, why_len);
	if (r == 0 &&
	    write_state(state_path, origin, 0, root, machine, false) != 0)
		r = fail(why, why_len, "%s: %s", state_path, strerror(errno));
	free(state_path);
	return r;
}

int
signer_init(const char *dir, const char *origin, struct buf *vkey, char *why,
    size_t why_len)
{
	return make_folder(dir, origin, NULL, NULL, vkey, why, why_len);
}

int
signer_follow(const char *dir, const char *origin, const char *from,
    const char *announced, struct buf *vkey, char *why, size_t why_len)
{
	uint8_t digest[CRYPTO_SHA256_LEN];
	bool known = text_get_hex(view_text(announced), digest, sizeof digest);

	return make_folder(
	    dir, origin, from, known ? digest : NULL, vkey, why, why_len);
}

/* ---- recovery ---- */

int
signer_move(const char *dir, bool *moved, char *why, size_t why_len)
{
	char machine[2 * CRYPTO_SHA256_LEN + 1];
	char *path = file_join(dir, "state"), *origin = NULL;
	struct view told;
	struct note body;
	struct buf text;
	int r = -1;

	read_machine(machine);
	buf_init(&text);
	if (path == NULL)
		(void)fail(why, why_len, "out of memory");
	else if (file_read(path, FILE_MAX, &text) != 0)
		(void)fail(why, why_len, "%s: %s", path, strerror(errno));
	else if (!parse_state(buf_view(&text), &body, &told) ||
	    (origin = view_dup(body.origin)) == NULL)
		(void)fail(why, why_len, "%s: damaged", path);
	else if (!(*moved = !view_is(told, machine)))
		r = 0;
	else if (write_state(
		     path, origin, body.size, body.root, machine, true) != 0)
		(void)fail(why, why_len, "%s: %s", path, strerror(errno));
	else
		r = 0;
	buf_release(&text);
	free(origin);
	free(path);
	return r;
}

/* ---- opening ---- */

static int
read_state(struct signer *s, char *why, size_t why_len)
{
	struct view machine;
	struct note body;
	struct buf text;
	int r = 0;

	buf_init(&text);
	if (file_read(s->state_path, FILE_MAX, &text) != 0) {
		r = fail(why, why_len,
		    "%s: %s; without it nobody knows what was signed last. "
		    "Restore it, or make it from the newest checkpoint that "
		    "anybody holds: chancery recover --signer-state NOTE",
		    s->state_path, strerror(errno));
	} else if (!parse_state(buf_view(&text), &body, &machine) ||
	    !view_is(body.origin, s->keys.origin)) {
		r = fail(why, why_len, "%s: not the state of the key %s",
		    s->state_path, s->keys.origin);
	} else if (!view_is(machine, "-") && !view_is(machine, s->machine)) {
		r = fail(why, why_len,
		    "%s: the signer's folder is of another machine, and the "
		    "one there may sign with the same key. When that one is "
		    "gone for good: chancery recover --moved",
		    s->state_path);
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

	if (s == NULL || (s->state_path = file_join(dir, "state")) == NULL) {
		(void)fail(why, why_len, "out of memory");
		free(s);
		return NULL;
	}
	read_machine(s->machine);
	if (signer_keys_open(&s->keys, dir, why, why_len) != 0 ||
	    read_state(s, why, why_len) != 0) {
		signer_close(s);
		s = NULL;
	}
	return s;
}

void
signer_close(struct signer *s)
{
	if (s == NULL)
		return;
	signer_keys_close(&s->keys);
	free(s->state_path);
	free(s);
}

static void
put_digest(const struct signer_public *p, struct buf *out)
{
	uint8_t digest[CRYPTO_SHA256_LEN] = {0};

	if (p->there)
		signer_keys_digest(p, digest);
	buf_put(out, digest, sizeof digest);
}

void
signer_put_hello(const struct signer *s, struct buf *out)
{
	buf_put_u64(out, s->size);
	buf_put(out, s->root, sizeof s->root);
	buf_put_u64(out, s->keys.now.epoch);
	put_digest(&s->keys.next, out);
	put_digest(&s->keys.after, out);
	signer_keys_put_vkey(&s->keys, &s->keys.now, out);
}

/* ---- signing ---- */

/* A head, and the proof that it adds to the last one. */
struct request {
	uint64_t old, size;
	const uint8_t *root;
	struct view proof;
};

/* Whether the new head adds to what was signed last. */
static bool
grows(
    const struct signer *s, const struct request *r, char *why, size_t why_len)
{
	const char *reason;

	if (r->size < s->size)
		reason = "records are missing (rollback)";
	else if (r->size == s->size &&
	    !crypto_equal(r->root, s->root, TREE_HASH_LEN))
		reason = "another history of the same length (fork)";
	else if (r->old != s->size)
		reason = "the proof starts elsewhere";
	else if (!tree_consistency_check(
		     s->size, s->root, r->size, r->root, r->proof))
		reason = "the proof does not hold (fork)";
	else
		return true;
	(void)fail(why, why_len,
	    "head of size %" PRIu64 " refused, size %" PRIu64
	    " was signed before: %s",
	    r->size, s->size, reason);
	return false;
}

/* A crash after this repeats the same signature later. */
static bool
remember(struct signer *s, const struct request *r, char *why, size_t why_len)
{
	if (r->size != s->size &&
	    write_state(s->state_path, s->keys.origin, r->size, r->root,
		s->machine, true) != 0) {
		(void)fail(
		    why, why_len, "%s: %s", s->state_path, strerror(errno));
		return false;
	}
	s->size = r->size;
	memcpy(s->root, r->root, sizeof s->root);
	return true;
}

static bool
put_note(const struct signer *s, const struct request *r, struct buf *out,
    char *why, size_t why_len)
{
	struct buf body;
	bool ok;

	buf_init(&body);
	note_put_body(&body, view_text(s->keys.origin), r->size, r->root);
	ok = !body.failed &&
	    note_sign(
		out, buf_view(&body), view_text(s->keys.origin), s->keys.key);
	buf_release(&body);
	if (!ok)
		(void)fail(why, why_len, "signing failed");
	return ok;
}

static bool
read_request(struct reader *r, struct request *out, char *why, size_t why_len)
{
	uint16_t n;

	out->old = reader_u64(r);
	out->size = reader_u64(r);
	out->root = reader_take(r, TREE_HASH_LEN).p;
	n = reader_u16(r);
	out->proof = reader_take(r, (size_t)n * TREE_HASH_LEN);
	if (reader_done(r) && n <= TREE_PROOF_MAX)
		return true;
	(void)fail(why, why_len, "malformed request");
	return false;
}

/* What an earlier failure left under way comes before all else. */
static bool
is_settled(struct signer *s, char *why, size_t why_len)
{
	return !s->keys.moving ||
	    signer_keys_advance(&s->keys, why, why_len) == 0;
}

enum signer_verdict
signer_sign(struct signer *s, struct view request, struct buf *out, char *why,
    size_t why_len)
{
	struct reader r = reader_of(request);
	size_t before = out->len;
	struct request q;

	if (!read_request(&r, &q, why, why_len))
		return SIGNER_MALFORMED;
	if (!is_settled(s, why, why_len) || !grows(s, &q, why, why_len) ||
	    !remember(s, &q, why, why_len))
		return SIGNER_REFUSED;
	buf_put_u64(out, q.size);
	if (put_note(s, &q, out, why, why_len))
		return SIGNER_SIGNED;
	out->len = before;
	return SIGNER_ANEW;
}

enum signer_verdict
signer_rotate(struct signer *s, struct view request, struct buf *out, char *why,
    size_t why_len)
{
	struct reader r = reader_of(request);
	uint64_t epoch = reader_u64(&r);

	if (!reader_done(&r)) {
		(void)fail(why, why_len, "malformed request");
		return SIGNER_MALFORMED;
	}
	if (!is_settled(s, why, why_len))
		return SIGNER_REFUSED;
	if (epoch != s->keys.next.epoch) {
		(void)fail(why, why_len,
		    "epoch %" PRIu64 " cannot begin: the next one is %" PRIu64,
		    epoch, s->keys.next.epoch);
		return SIGNER_REFUSED;
	}
	if (signer_keys_prepare(&s->keys, why, why_len) != 0)
		return SIGNER_REFUSED;
	buf_put_u64(out, epoch);
	put_digest(&s->keys.after, out);
	signer_keys_put_vkey(&s->keys, &s->keys.next, out);
	return SIGNER_SIGNED;
}

/* The present key's last signature, written down before the key goes. */
static bool
close_epoch(struct signer *s, const struct request *q, struct buf *out,
    char *why, size_t why_len)
{
	struct buf note;
	bool ok;

	buf_init(&note);
	ok = put_note(s, q, &note, why, why_len) &&
	    signer_keys_put_closing(&s->keys, buf_view(&note), why, why_len) ==
		0 &&
	    signer_keys_advance(&s->keys, why, why_len) == 0;
	if (ok)
		buf_put_view(out, buf_view(&note));
	buf_release(&note);
	return ok;
}

/* What the key before signed last is the answer for its own size only. */
static bool
put_closing(const struct signer *s, uint64_t size, struct buf *out)
{
	struct view text = buf_view(&s->keys.closing);
	struct note note;
	const char *why;

	buf_put_view(out, text);
	return text.n > 0 && note_parse(text, &note, &why) && note.size == size;
}

static bool
turn(struct signer *s, uint64_t epoch, bool clean, const struct request *q,
    struct buf *out, char *why, size_t why_len)
{
	/* Asked again, after the answer was lost. */
	if (epoch == s->keys.now.epoch)
		return clean ? put_closing(s, q->size, out)
			     : put_note(s, q, out, why, why_len);
	if (epoch != s->keys.next.epoch || !s->keys.after.there) {
		(void)fail(why, why_len,
		    "epoch %" PRIu64 " cannot begin: it was not made ready",
		    epoch);
		return false;
	}
	if (clean)
		return close_epoch(s, q, out, why, why_len);
	return signer_keys_advance(&s->keys, why, why_len) == 0 &&
	    put_note(s, q, out, why, why_len);
}

enum signer_verdict
signer_turn(struct signer *s, struct view request, struct buf *out, char *why,
    size_t why_len)
{
	struct reader r = reader_of(request);
	uint64_t epoch = reader_u64(&r);
	bool clean = reader_u8(&r) != 0;
	size_t before = out->len;
	struct request q;

	if (!read_request(&r, &q, why, why_len))
		return SIGNER_MALFORMED;
	(void)fail(why, why_len, "epoch %" PRIu64 " began elsewhere", epoch);
	if (!is_settled(s, why, why_len) || !grows(s, &q, why, why_len) ||
	    !remember(s, &q, why, why_len))
		return SIGNER_REFUSED;
	buf_put_u64(out, q.size);
	if (turn(s, epoch, clean, &q, out, why, why_len))
		return SIGNER_SIGNED;
	out->len = before;
	return SIGNER_ANEW;
}

/* ---- the role ---- */

struct service {
	uv_loop_t loop;
	struct role *role;
	struct signer *signer; /* NULL: refuses all, for the reason in why */
	struct ipc *keeper;
	uv_timer_t unlinked, again;
	char *dir;
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

static const struct {
	uint16_t type, answer;
	enum signer_verdict (*handle)(struct signer *s, struct view request,
	    struct buf *out, char *why, size_t why_len);
} frames[] = {
    {WIRE_SIGN, WIRE_NOTE, signer_sign},
    {WIRE_ROTATE, WIRE_KEY, signer_rotate},
    {WIRE_TURN, WIRE_NOTE, signer_turn},
};

static void
on_frame(void *arg, uint16_t type, struct view payload, int fd)
{
	struct service *v = arg;
	char why[512] = "unexpected frame";
	enum signer_verdict verdict = SIGNER_MALFORMED;
	uint16_t answer = 0;
	struct buf out;

	if (fd >= 0)
		(void)close(fd); /* no frame of the keeper carries one */
	if (v->signer == NULL) {
		send_refusal(v, v->why);
		return;
	}
	buf_init(&out);
	for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++) {
		if (frames[i].type != type || fd >= 0)
			continue;
		answer = frames[i].answer;
		verdict =
		    frames[i].handle(v->signer, payload, &out, why, sizeof why);
	}
	switch (verdict) {
	case SIGNER_SIGNED:
		ipc_send(v->keeper, answer, buf_view(&out));
		break;
	case SIGNER_REFUSED:
		log_error("%s", why);
		send_refusal(v, why);
		break;
	case SIGNER_ANEW:
		log_error("%s: starting anew", why);
		send_refusal(v, why);
		v->status = 3;
		uv_stop(&v->loop);
		break;
	case SIGNER_MALFORMED:
		drop_keeper(v, why);
		break;
	}
	buf_release(&out);
}

static void
greet(struct service *v)
{
	if (v->signer == NULL) {
		send_refusal(v, v->why);
		return;
	}
	signer_put_hello(v->signer, ipc_begin(v->keeper, WIRE_SIGNER));
	ipc_end(v->keeper);
}

/* What the system refused is tried again; for the rest a person is needed. */
static void
open_folder(uv_timer_t *timer)
{
	struct service *v = timer->data;
	char why[sizeof v->why];
	int error;

	errno = 0;
	v->signer = signer_open(v->dir, why, sizeof why);
	error = errno;
	if (v->signer == NULL) {
		if (strcmp(why, v->why) != 0)
			log_error("nothing will be signed: %s", why);
		memcpy(v->why, why, sizeof why);
		if (error == ENOMEM || error == EIO || error == ENOSPC ||
		    error == EWOULDBLOCK)
			(void)uv_timer_start(timer, open_folder, AGAIN_MS, 0);
	}
	if (v->keeper != NULL)
		greet(v);
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
	greet(v);
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

	v.dir = conf_state_path(conf, "signer");
	if (v.dir == NULL || uv_loop_init(&v.loop) != 0)
		log_fatal("out of memory");
	(void)uv_timer_init(&v.loop, &v.unlinked); /* always 0 */
	(void)uv_timer_init(&v.loop, &v.again);    /* always 0 */
	v.unlinked.data = v.again.data = &v;
	v.role = role_new(&v.loop, parent_fd, on_link, on_stop, &v);
	if (process_drop(conf->user_signer, 64) != 0)
		log_fatal("rights cannot be dropped: %s", strerror(errno));
	open_folder(&v.again);
	role_ready(v.role);
	(void)uv_run(&v.loop, UV_RUN_DEFAULT); /* until on_stop() */
	if (v.keeper != NULL)
		ipc_flush(v.keeper);
	signer_close(v.signer);
	free(v.dir);
	return v.status;
}
