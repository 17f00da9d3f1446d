#include "export/witness_rules.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/crypto.h"
#include "base/text.h"

#include "export/verify_line.h"
#include "export/witness_request.h"
#include "export/witness_tree.h"

#define HASH_DIGITS 64

void
witness_refuse(
    struct witness_answer *out, unsigned status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(out->why, sizeof(out->why), fmt, ap);
	va_end(ap);
	out->status = status;
	out->type = WITNESS_TEXT;
	buf_clear(&out->body);
	buf_put_text(&out->body, out->why);
	buf_put_u8(&out->body, '\n');
}

static bool
refuse_state(const struct witness *w, struct witness_answer *out)
{
	witness_refuse(out, 500, "state: %s", witness_store_error(w->store));
	return false;
}

/* Where the witness stands, as the client must know it. */
static bool
refuse_size(const struct witness_log *log, const struct witness_request *r,
    struct witness_answer *out)
{
	witness_refuse(out, 409,
	    "old size %" PRIu64 ", the witness is at %" PRIu64, r->old,
	    log->size);
	out->type = WITNESS_SIZE;
	buf_clear(&out->body);
	buf_printf(&out->body, "%" PRIu64 "\n", log->size);
	return false;
}

/*
 * The key that must have signed the checkpoint. One that a key record names
 * is in force before it is stored.
 */
static bool
find_signer(const struct witness *w, const struct witness_request *r,
    const struct witness_log *log, struct verify_key *out,
    struct witness_answer *answer)
{
	uint8_t digest[32];

	if (r->is_link && !verify_key_equal(&r->link.key, &log->newest)) {
		crypto_sha256(r->link.key.public, 32, digest);
		if (!log->rotates || memcmp(digest, log->next, 32) != 0) {
			witness_refuse(answer, 403,
			    "the key of record %" PRIu64 " was not announced",
			    r->link.seq);
			return false;
		}
		if (!r->link.clean) {
			*out = r->link.key;
			return true;
		}
	}
	if (witness_store_key(w->store, log->origin, r->note.size, out) !=
	    WITNESS_FOUND)
		return refuse_state(w, answer);
	return true;
}

/* Two signed checkpoints of one size: evidence, whoever sent it. */
static bool
refuse_fork(const struct witness *w, const struct witness_request *r,
    const struct witness_log *log, struct view own, uint64_t now,
    struct witness_answer *out)
{
	struct buf kept;
	bool ok;

	buf_init(&kept);
	ok =
	    witness_store_note(w->store, log->origin, &kept) == WITNESS_FOUND &&
	    witness_store_add_conflict(
		w->store, log->origin, now, buf_view(&kept), own) &&
	    witness_store_commit(w->store);
	buf_release(&kept);
	if (!ok)
		return refuse_state(w, out);
	witness_refuse(out, 422,
	    "fork: another root of size %" PRIu64 " was cosigned",
	    r->note.size);
	return false;
}

static bool
consistent(const struct witness *w, const struct witness_request *r,
    const struct witness_log *log, struct view own, uint64_t now,
    struct witness_answer *out)
{
	uint8_t empty[32];

	if (log->cosigned && r->note.size == log->size &&
	    memcmp(r->note.root, log->root, 32) != 0)
		return refuse_fork(w, r, log, own, now, out);
	crypto_sha256("", 0, empty);
	if (r->note.size == 0 && memcmp(r->note.root, empty, 32) != 0) {
		witness_refuse(out, 422, "not the root of the empty tree");
		return false;
	}
	if (witness_consistent(log->size, log->root, r->note.size, r->note.root,
		r->proof, r->proofs))
		return true;
	witness_refuse(out, 422,
	    "no proof that %" PRIu64 " records begin with the %" PRIu64
	    " cosigned",
	    r->note.size, log->size);
	return false;
}

/* Body and signature lines of the key: what is kept and handed out again. */
static void
put_own(
    struct buf *out, const struct verify_note *n, const struct verify_key *key)
{
	struct view rest = n->signatures, line;
	struct buf start;
	uint8_t id[6];

	buf_init(&start);
	buf_printf(&start, "\xe2\x80\x94 %s ", key->name);
	buf_put_view(out, n->body);
	buf_put_u8(out, '\n');
	while (verify_line(&rest, &line)) {
		if (start.failed || line.n < start.len + 8 ||
		    memcmp(line.p, start.data, start.len) != 0 ||
		    !text_get_base64_fixed(
			view_of(line.p + start.len, 8), id, sizeof(id)) ||
		    memcmp(id, key->id, 4) != 0)
			continue;
		buf_put_view(out, line);
		buf_put_u8(out, '\n');
	}
	out->failed |= start.failed;
	buf_release(&start);
}

static bool
keep(const struct witness *w, const struct witness_request *r,
    const struct witness_log *log, struct view own, uint64_t now)
{
	const struct witness_link *l = &r->link;

	if (!witness_store_keep(
		w->store, log->origin, r->note.size, r->note.root, own, now))
		return false;
	if (r->is_link && !verify_key_equal(&l->key, &log->newest) &&
	    !witness_store_add_key(w->store, &l->key,
		l->clean ? r->note.size + 1 : r->note.size, l->after))
		return false;
	return witness_store_commit(w->store);
}

static bool
check(const struct witness *w, const struct witness_request *r,
    const struct witness_log *log, struct verify_key *signer,
    struct witness_answer *out)
{
	uint8_t root[32];
	const char *why;

	if (!find_signer(w, r, log, signer, out))
		return false;
	if (!verify_note_signed(&r->note, signer, &why)) {
		witness_refuse(
		    out, 403, "size %" PRIu64 ": %s", r->note.size, why);
		return false;
	}
	if (!r->is_link)
		return true;
	witness_link_root(&r->link, root);
	if (memcmp(root, r->note.root, 32) == 0)
		return true;
	witness_refuse(out, 422,
	    "record %" PRIu64 " does not give the root of the checkpoint",
	    r->link.seq);
	return false;
}

/* Inside a transaction, which a true answer has committed. */
static bool
take(const struct witness *w, const struct witness_request *r, uint64_t now,
    struct witness_answer *out)
{
	struct verify_key signer;
	struct witness_log log;
	struct buf own;
	bool ok;

	switch (witness_store_find(w->store, r->note.origin, &log)) {
	case WITNESS_FOUND:
		break;
	case WITNESS_NONE:
		witness_refuse(out, 404, "unknown log %.*s",
		    (int)r->note.origin.n, (const char *)r->note.origin.p);
		return false;
	default:
		return refuse_state(w, out);
	}
	memcpy(out->origin, log.origin, sizeof(out->origin));
	if (!check(w, r, &log, &signer, out))
		return false;
	if (r->old != log.size)
		return refuse_size(&log, r, out);
	buf_init(&own);
	put_own(&own, &r->note, &signer);
	ok = !own.failed;
	if (!ok)
		witness_refuse(out, 500, "out of memory");
	ok = ok && consistent(w, r, &log, buf_view(&own), now, out);
	if (ok && !keep(w, r, &log, buf_view(&own), now))
		ok = refuse_state(w, out);
	buf_release(&own);
	return ok;
}

static void
cosign(const struct witness *w, struct view body, uint64_t at,
    struct witness_answer *out)
{
	out->status = 200;
	out->type = WITNESS_TEXT;
	if (!witness_key_cosign(w->key, body, at, &out->body))
		witness_refuse(out, 500, "no signature could be made");
}

void
witness_submit(const struct witness *w, struct view body, bool is_link,
    uint64_t now, struct witness_answer *out)
{
	struct witness_request r;
	const char *why = "";

	out->origin[0] = '\0';
	buf_clear(&out->body);
	if (!witness_request_parse(body, is_link, &r, &why)) {
		witness_refuse(out, 400, "%s", why);
		return;
	}
	if (!witness_store_begin(w->store)) {
		refuse_state(w, out);
		return;
	}
	if (take(w, &r, now, out))
		cosign(w, r.note.body, now, out);
	else
		witness_store_abort(w->store);
}

/* The three lines of a note that was kept. */
static bool
body_of(struct view note, struct view *body)
{
	struct verify_note parsed;
	unsigned line;
	const char *why;

	if (!verify_note_parse(note, &parsed, &line, &why))
		return false;
	*body = parsed.body;
	return true;
}

void
witness_newest(
    const struct witness *w, struct view hash, struct witness_answer *out)
{
	struct witness_log log = {.cosigned = false};
	enum witness_found found = WITNESS_NONE;
	uint8_t bytes[32];
	struct buf note;
	struct view body;

	out->origin[0] = '\0';
	buf_clear(&out->body);
	buf_init(&note);
	if (hash.n == HASH_DIGITS && verify_hex(hash, bytes, sizeof(bytes)))
		found = witness_store_begin(w->store) ? WITNESS_FOUND
						      : WITNESS_FAILED;
	if (found == WITNESS_FOUND)
		found = witness_store_find_hash(w->store, bytes, &log);
	if (found == WITNESS_FOUND)
		found = witness_store_note(w->store, log.origin, &note);
	if (found == WITNESS_FAILED) {
		refuse_state(w, out);
	} else if (found == WITNESS_NONE) {
		witness_refuse(out, 404, "no checkpoint");
	} else if (note.failed || !body_of(buf_view(&note), &body)) {
		witness_refuse(out, 500, "the checkpoint kept is broken");
	} else {
		buf_put_view(&out->body, buf_view(&note));
		cosign(w, body, log.at, out);
	}
	witness_store_abort(w->store);
	buf_release(&note);
}

void
witness_answer_release(struct witness_answer *out)
{
	buf_release(&out->body);
}
