#include "compliance/keeper_state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

#include "compliance/note.h"
#include "compliance/wire.h"

/*
 * Signing costs a processor more than many commits, and the signer's state
 * file syncs the same disk: under load heads are signed at this pace.
 */
#define REST_MS 20
#define RETRY_MS 2000    /* after a refusal */
#define STORE_MS 200     /* a note waits so long for a commit to ride on */
#define PUBLISH_MS 10000 /* between checkpoint rows under load */
#define SILENT_MS 5000   /* an answer takes no such time */

void
keeper_doom(struct keeper *k, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(k->doom, sizeof k->doom, fmt, ap); /* for people */
	va_end(ap);
	k->doomed = true;
	log_error("%s", k->doom);
	keeper_update(k);
}

static bool
is_of_origin(const struct keeper *k)
{
	struct note_vkey key;

	return note_parse_vkey(view_text(k->signing.vkey), &key) &&
	    view_is(key.name, journal_origin(k->journal));
}

/* Under a key that is not the journal's nothing is recorded. */
static void
doom_keys(struct keeper *k)
{
	const struct keeper_signing *s = &k->signing;

	/* What there was no memory to look up is not another key. */
	if (errno == ENOMEM)
		log_fatal("out of memory");
	keeper_doom(k,
	    "%s belongs to the key %s and those announced after it, but the "
	    "signer has %s, epoch %" PRIu64
	    ". Nothing is recorded. Next: put the "
	    "journal and the signer's folder of the same installation "
	    "together, both the newest, or go on with new keys: chancery "
	    "recover --new-incarnation --reason signer",
	    k->path, journal_vkey(k->journal), s->vkey, s->epoch);
}

void
keeper_compare(struct keeper *k)
{
	struct keeper_signing *s = &k->signing;
	uint64_t size = journal_size(k->journal);
	uint8_t root[TREE_HASH_LEN];

	if (!s->told || s->compared || k->doomed ||
	    !journal_writable(k->journal))
		return;
	errno = 0;
	if (!is_of_origin(k)) {
		doom_keys(k);
		return;
	}
	if (size < s->size) {
		keeper_doom(k,
		    "%s holds %" PRIu64 " records, but the signer signed "
		    "%" PRIu64 ": records are missing (an old copy restored, "
		    "or writes lost by the disk: rollback). Nothing is "
		    "recorded. Next: put the newest copy of the journal back, "
		    "or bring back what archives and copies hold: chancery "
		    "recover --from, or go on with a declared gap: chancery "
		    "recover --new-incarnation --reason lost; see chancery(8)",
		    k->path, size, s->size);
		return;
	}
	if (journal_root_at(k->journal, s->size, root) != 0) {
		log_error("%s: %s", k->path, journal_error(k->journal));
		keeper_storage_failed(k);
		return;
	}
	if (memcmp(root, s->root, sizeof root) != 0) {
		keeper_doom(k,
		    "%s and the signer differ in the first %" PRIu64
		    " records: one history was replaced by another (fork). "
		    "Nothing is recorded. Next: keep both as evidence, put the "
		    "right one back, or begin anew under another origin: "
		    "chancery recover --new-incarnation --reason fork",
		    k->path, s->size);
		return;
	}
	if (journal_signed_size(k->journal) > s->size &&
	    journal_signed_size(k->journal) > keeper_keys_since(k)) {
		keeper_doom(k,
		    "%s has a signature over %" PRIu64 " records, but the "
		    "signer knows of %" PRIu64 " only: its folder is an old "
		    "copy. Nothing is recorded. Next: put the newest copy of the "
		    "folder back, or go on with new keys: chancery recover "
		    "--new-incarnation --reason signer",
		    k->path, journal_signed_size(k->journal), s->size);
		return;
	}
	if (!keeper_keys_compare(k)) {
		doom_keys(k);
		return;
	}
	if (!journal_writable(k->journal))
		return; /* compared when it can be read again */
	if (!keeper_conflicts_clear(k))
		return;
	s->compared = true;
	keeper_enter_service(k);
	keeper_sign(k);
}

static bool
on_hello(struct keeper *k, struct view payload)
{
	struct keeper_signing *s = &k->signing;
	struct reader r = reader_of(payload);
	uint64_t size = reader_u64(&r);
	struct view root = reader_take(&r, TREE_HASH_LEN);
	uint64_t epoch = reader_u64(&r);
	struct view next = reader_take(&r, sizeof s->next);
	struct view after = reader_take(&r, sizeof s->after);
	struct view vkey = reader_rest(&r);

	if (!reader_done(&r) || s->told || vkey.n >= sizeof s->vkey)
		return false;
	s->told = true;
	s->size = size;
	s->epoch = epoch;
	memcpy(s->root, root.p, sizeof s->root);
	memcpy(s->next, next.p, sizeof s->next);
	memcpy(s->after, after.p, sizeof s->after);
	(void)snprintf(
	    s->vkey, sizeof s->vkey, "%.*s", (int)vkey.n, (const char *)vkey.p);
	keeper_compare(k);
	return true;
}

static void
on_rested(uv_timer_t *timer)
{
	struct keeper *k = timer->data;

	k->signing.resting = false;
	keeper_sign(k);
}

static void
rest(struct keeper *k, uint64_t ms)
{
	k->signing.busy = false;
	k->signing.resting = true;
	(void)uv_timer_start(&k->rest_timer, on_rested, ms, 0); /* always 0 */
}

void
keeper_put_request(
    const struct keeper *k, const struct buf *proof, struct buf *out)
{
	const struct keeper_signing *s = &k->signing;

	buf_put_u64(out, s->size);
	buf_put_u64(out, s->asked_size);
	buf_put(out, s->asked_root, sizeof s->asked_root);
	buf_put_u16(out, (uint16_t)(proof->len / TREE_HASH_LEN));
	buf_put_view(out, buf_view(proof));
}

void
keeper_asked(struct keeper *k)
{
	k->signing.busy = true;
	k->signing.silent = false;
	k->signing.asked_ms = uv_now(&k->loop);
}

/* The beats come by at the latest. */
static void
watch_signer(struct keeper *k)
{
	struct keeper_signing *s = &k->signing;

	if (!s->busy || s->silent || uv_now(&k->loop) - s->asked_ms < SILENT_MS)
		return;
	s->silent = true;
	keeper_update(k);
}

void
keeper_sign(struct keeper *k)
{
	struct keeper_signing *s = &k->signing;
	struct buf proof;
	uint64_t size;

	watch_signer(k);
	if (!s->compared || s->busy || k->signer.link == NULL ||
	    (s->resting && !k->stopping && !keeper_rolling(k)) ||
	    !journal_writable(k->journal) || keeper_keys_step(k))
		return;
	size = journal_size(k->journal);
	if (size == s->size && journal_signed_size(k->journal) == size)
		return;
	buf_init(&proof);
	if (journal_proof(k->journal, s->size, size, &proof) != 0) {
		log_error("%s: %s", k->path, journal_error(k->journal));
		buf_release(&proof);
		keeper_storage_failed(k);
		return;
	}
	keeper_asked(k);
	s->asked_size = size;
	journal_root(k->journal, s->asked_root);
	keeper_put_request(k, &proof, ipc_begin(k->signer.link, WIRE_SIGN));
	ipc_end(k->signer.link);
	buf_release(&proof);
}

bool
keeper_signature_awaited(const struct keeper *k)
{
	return k->signing.compared && k->signer.link != NULL &&
	    keeper_writable(k) &&
	    journal_signed_size(k->journal) != journal_size(k->journal);
}

void
keeper_publish_after(struct keeper *k, uint64_t seq)
{
	k->signing.publish = true;
	k->signing.publish_above = seq;
}

static bool
is_due(const struct keeper *k, uint64_t size)
{
	const struct keeper_signing *s = &k->signing;

	return (s->publish && size > s->publish_above) ||
	    uv_now(&k->loop) - s->published_ms >= PUBLISH_MS;
}

/* Whether the note says what was asked for; published ones are verified. */
static bool
note_fits(struct keeper *k, struct view text, uint64_t size, bool publish,
    const char **why)
{
	struct note_vkey key;
	struct note note;

	if (!note_parse(text, &note, why))
		return false;
	*why = "it is for another head than asked";
	if (note.size != size ||
	    !view_is(note.origin, journal_origin(k->journal)) ||
	    memcmp(note.root, k->signing.asked_root, sizeof note.root) != 0)
		return false;
	*why = "the key that signs is malformed";
	return !publish ||
	    (note_parse_vkey(view_text(keeper_keys_signing(k)), &key) &&
		note_verify(&note, &key, why));
}

static void
on_store(uv_timer_t *timer)
{
	struct keeper *k = timer->data;

	/* Also of the record that ended recording. */
	if (!k->in_service || !journal_writable(k->journal) ||
	    !journal_note_waits(k->journal))
		return;
	if (journal_store_note(k->journal) != 0)
		keeper_storage_failed(k);
}

/* The last note of a burst: what it covers is to get into other hands. */
static void
on_publish(uv_timer_t *timer)
{
	struct keeper *k = timer->data;

	if (!journal_writable(k->journal)) {
		(void)uv_timer_start(timer, on_publish, PUBLISH_MS, 0);
		return;
	}
	if (journal_publish(k->journal) != 0) {
		log_error("note of the signer refused: %s",
		    journal_error(k->journal));
		keeper_drop(&k->signer, "what it signed does not hold");
		return;
	}
	k->signing.published_ms = uv_now(&k->loop);
	on_store(&k->note_timer);
}

static bool
on_note(struct keeper *k, struct view payload)
{
	struct keeper_signing *s = &k->signing;
	struct reader r = reader_of(payload);
	uint64_t size = reader_u64(&r);
	struct view text = reader_rest(&r);
	const char *why = "it was not asked for";
	bool turns = keeper_keys_awaits_note(k);
	bool ends = keeper_rolling(k) && size == journal_size(k->journal);
	bool publish = turns || ends || is_due(k, size) ||
	    journal_publish_waits(k->journal);
	bool removed = s->removed != 0 && size >= s->removed;

	if (!reader_done(&r))
		return false;
	if (!s->busy || size != s->asked_size ||
	    !note_fits(k, text, size, publish, &why)) {
		log_error("note of the signer refused: %s", why);
		return false;
	}
	s->size = size;
	memcpy(s->root, s->asked_root, sizeof s->root);
	s->why[0] = '\0';
	s->silent = false;
	if (k->why[0] != '\0')
		keeper_update(k);
	if (publish) {
		s->published_ms = uv_now(&k->loop);
		if (size > s->publish_above)
			s->publish = false;
		(void)uv_timer_stop(&k->publish_timer); /* always 0 */
	} else if (!uv_is_active((uv_handle_t *)&k->publish_timer)) {
		(void)uv_timer_start(&k->publish_timer, on_publish,
		    s->published_ms + PUBLISH_MS - uv_now(&k->loop), 0);
	}
	if (turns) {
		s->busy = false;
		keeper_keys_took_note(k, text);
		keeper_sign(k);
		if (k->stopping && !keeper_signature_awaited(k))
			keeper_end(k);
		return true;
	}
	journal_note(k->journal, size, text, publish);
	if (!journal_note_waits(k->journal))
		log_fatal("out of memory");
	if (!uv_is_active((uv_handle_t *)&k->note_timer))
		(void)uv_timer_start(&k->note_timer, on_store, STORE_MS, 0);
	rest(k, REST_MS);
	/* Who reads a journal believes no purge that is not signed. */
	if (removed)
		s->removed = 0;
	if ((ends || removed) && journal_store_note(k->journal) != 0)
		keeper_storage_failed(k);
	if (ends)
		keeper_roll(k);
	keeper_sign(k);
	if (k->stopping && !keeper_signature_awaited(k))
		keeper_end(k);
	return true;
}

static bool
on_refused(struct keeper *k, struct view payload)
{
	struct keeper_signing *s = &k->signing;
	struct reader r = reader_of(payload);
	uint64_t ref = reader_u64(&r);
	struct view why = reader_rest(&r);

	if (!reader_done(&r) || ref != 0)
		return false;
	if (!view_is(why, s->why))
		log_error("the signer refuses: %.*s", (int)why.n,
		    (const char *)why.p);
	(void)snprintf(
	    s->why, sizeof s->why, "%.*s", (int)why.n, (const char *)why.p);
	s->silent = false;
	rest(k, RETRY_MS);
	keeper_keys_refused(k, s->why);
	keeper_update(k);
	if (k->stopping)
		keeper_end(k);
	return true;
}

const struct keeper_frame_row keeper_signer_frames[] = {
    {WIRE_SIGNER, on_hello},
    {WIRE_NOTE, on_note},
    {WIRE_KEY, keeper_keys_on_key},
    {WIRE_REFUSED, on_refused},
};
const size_t keeper_signer_frame_count =
    sizeof keeper_signer_frames / sizeof keeper_signer_frames[0];

/* What is known ends with the link; appending goes on without a signer. */
void
keeper_signer_down(struct keeper *k)
{
	k->signing.told = k->signing.compared = false;
	k->signing.busy = k->signing.resting = k->signing.silent = false;
	(void)uv_timer_stop(&k->rest_timer); /* always 0 */
	if (k->stopping)
		keeper_end(k);
	else
		keeper_update(k);
}
