/* Signed notes, vkeys and skeys: no bytes crash, bodies are canonical. */

#include <stdlib.h>
#include <string.h>

#include "compliance/note.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_note(struct view text)
{
	static const uint8_t public[CRYPTO_PUBLIC_LEN] = {1};
	struct note_vkey key = {.public = {1}};
	const char *why;
	struct note note;
	struct buf body;

	if (!note_parse(text, &note, &why))
		return;
	buf_init(&body);
	note_put_body(&body, note.origin, note.size, note.root);
	if (body.len != note.body.n ||
	    memcmp(body.data, note.body.p, body.len) != 0)
		abort();
	buf_release(&body);
	key.name = note.origin;
	key.id = note_key_id(note.origin, public);
	if (note_verify(&note, &key, &why))
		abort(); /* nobody has the secret of that point */
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool ready;
	struct view text = view_of(data, size);
	uint8_t seed[CRYPTO_SEED_LEN];
	struct note_vkey key;
	struct view name;
	struct buf again;
	uint32_t id;

	if (!ready)
		crypto_init();
	ready = true;
	check_note(text);
	buf_init(&again);
	if (note_parse_vkey(text, &key)) {
		note_put_vkey(&again, key.name, key.public);
		if (again.len != size || memcmp(again.data, data, size) != 0)
			abort();
	}
	buf_release(&again);
	(void)note_parse_skey(text, &name, &id, seed); /* must not crash */
	return 0;
}
