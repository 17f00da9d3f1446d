#ifndef TESTS_UNIT_VERIFY_PROOFS_H
#define TESTS_UNIT_VERIFY_PROOFS_H

/*
 * Proofs of single records written by hand for the verifier's tests, from the
 * words of chancery-journal(5) alone.
 */

#include "tests/unit/verify_fixture.h"

/* RFC 6962 section 2.1.1, of the record m of n from first on. */
static inline void
fix_path(struct buf *out, const struct fix *f, uint64_t m, uint64_t first,
    uint64_t n)
{
	uint64_t k = 1;
	uint8_t hash[32];
	bool left;

	if (n == 1)
		return;
	while (k * 2 < n)
		k *= 2;
	left = m < k;
	fix_path(out, f, left ? m : m - k, left ? first : first + k,
	    left ? k : n - k);
	fix_mth(f, left ? first + k : first, left ? n - k : k, hash);
	text_put_base64(out, hash, sizeof(hash));
	buf_put_text(out, "\n");
}

static inline void
fix_proof(struct buf *out, const struct fix *f, uint64_t seq)
{
	struct buf record, note;

	buf_init(&record);
	buf_init(&note);
	buf_put_text(&record, "record/1\nleaf ");
	text_put_base64(&record, f->rec[seq].leaf, strlen(f->rec[seq].leaf));
	buf_put_text(&record, "\n");
	for (unsigned i = 0; i < f->rec[seq].parts; i++) {
		const struct fix_part *part = &f->rec[seq].part[i];

		buf_printf(&record, "part %u ", i);
		text_put_base64(&record, part->salt, sizeof(part->salt));
		buf_put_text(&record, " ");
		text_put_base64(&record, part->data, strlen(part->data));
		buf_put_text(&record, "\n");
	}
	buf_put_text(out, "c2sp.org/tlog-proof@v1\nextra ");
	text_put_base64(out, record.data, record.len);
	buf_printf(out, "\nindex %" PRIu64 "\n", seq);
	fix_path(out, f, seq, 0, f->n);
	fix_note(f, f->n, &note);
	buf_put_text(out, "\n");
	buf_put_view(out, buf_view(&note));
	buf_release(&record);
	buf_release(&note);
}

#endif
