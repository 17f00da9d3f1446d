#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "compliance/note.h"
#include "compliance/signer.h"
#include "server/recover_state.h"

/* The signer's state, made anew of what others hold. */

int
recover_read_note(struct recover *r, const char *path, struct buf *text,
    uint64_t *size, uint8_t root[32])
{
	const char *why;
	struct note note;

	if (file_read(path, NOTE_MAX, text) != 0)
		return recover_say(r, -1, "%s: %s", path, strerror(errno));
	if (!journal_note_holds(r->journal, buf_view(text), &note, &why))
		return recover_say(r, 1, "%s: %s", path, why);
	*size = note.size;
	memcpy(root, note.root, 32);
	return 0;
}

static int
refuse(struct recover *r, const char *path)
{
	return recover_say(r, 1,
	    "%s: the journal does not agree with it. Nothing was changed. "
	    "Next: put the newest copy of the journal back; when there is "
	    "none: chancery recover --new-incarnation --reason lost "
	    "--checkpoint %s",
	    path, path);
}

/* What a checkpoint and the journal agree on; the newer one of the two. */
static int
find_state(
    struct recover *r, const char *path, uint64_t *size, uint8_t root[32])
{
	uint64_t stored = journal_signed_size(r->journal);
	uint8_t own[32];
	struct buf text;
	int result;

	buf_init(&text);
	result = recover_read_note(r, path, &text, size, root);
	buf_release(&text);
	if (result != 0)
		return result;
	if (*size > journal_size(r->journal))
		return refuse(r, path);
	if (journal_root_at(r->journal, *size, own) != 0)
		return recover_say(r, -1, "%s: %s", r->journal_path,
		    journal_error(r->journal));
	if (memcmp(own, root, sizeof own) != 0)
		return refuse(r, path);
	if (stored > *size && journal_root_at(r->journal, stored, own) == 0) {
		*size = stored;
		memcpy(root, own, sizeof own);
	}
	return 0;
}

static int
give_state(struct recover *r)
{
	char *path = file_join(r->signer_path, "state");
	int result = path == NULL
	    ? recover_say(r, -1, "out of memory")
	    : recover_give(r, path, r->conf->user_signer, NULL, 0600);

	free(path);
	return result;
}

int
recover_signer_state(struct recover *r, json_t **result)
{
	uint64_t size = 0;
	uint8_t root[32];
	int status;

	if (signer_look(r->signer_path, &r->signer, r->why, r->why_len) != 0)
		return -1;
	if (!r->signer.key)
		return recover_say(r, 1,
		    "%s/key: there is none. Next: put it back, or go on under "
		    "a new name: chancery recover --new-incarnation --reason "
		    "signer",
		    r->signer_path);
	if (r->signer.state)
		return recover_say(r, 1,
		    "%s/state: it is there, and says that %" PRIu64
		    " records were signed. Nothing was changed",
		    r->signer_path, r->signer.size);
	status = recover_open_journal(r, NULL);
	if (status == 0)
		status = recover_check_identity(r);
	if (status == 0)
		status = find_state(r, r->order->signer_state, &size, root);
	if (status == 0)
		status = signer_put_state(r->signer_path, r->signer.origin,
		    size, root, r->why, r->why_len);
	if (status == 0)
		status = give_state(r);
	if (status == 0)
		*result = json_pack("{s:I}", "signed", (json_int_t)size);
	return status;
}

int
recover_moved(struct recover *r, json_t **result)
{
	bool moved = false;

	if (signer_look(r->signer_path, &r->signer, r->why, r->why_len) != 0)
		return -1;
	if (!r->signer.key || !r->signer.state)
		return recover_say(r, 1,
		    "%s: key or state is missing. Next: move the whole folder",
		    r->signer_path);
	if (signer_move(r->signer_path, &moved, r->why, r->why_len) != 0)
		return -1;
	if (!moved)
		return recover_say(r, 1,
		    "%s/state: it is of this machine. Nothing was changed",
		    r->signer_path);
	if (give_state(r) != 0)
		return -1;
	*result = json_pack("{s:I}", "signed", (json_int_t)r->signer.size);
	return 0;
}
