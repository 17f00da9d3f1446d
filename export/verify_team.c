#include "export/verify_team.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/db.h"
#include "base/file.h"

#include "export/verify_sql.h"

#define WORTH_WHILE 50000 /* records: below, starting costs more */
#define OWN_PERCENT 28    /* with one helper, of the payloads, the walk's */
#define RESULT_MAX ((size_t)64 << 20)

static unsigned
processors(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) != 0)
		return 1;
	return (unsigned)CPU_COUNT(&set);
}

/* Size and root of the head row: equal when nothing came in between. */
static bool
read_head(sqlite3 *db, struct buf *out)
{
	sqlite3_stmt *s = db_prepare(db, "SELECT size, root FROM head");
	bool ok = s != NULL && db_step(s) == SQLITE_ROW;

	if (ok) {
		buf_put_u64(out, (uint64_t)sqlite3_column_int64(s, 0));
		buf_put_view(out, verify_sql_blob(s, 1));
	}
	(void)sqlite3_finalize(s); /* only read */
	return ok && !out->failed;
}

static bool
same_head(const struct buf *mine, sqlite3 *db)
{
	struct buf now;
	bool same;

	buf_init(&now);
	same = read_head(db, &now) && now.len == mine->len &&
	    memcmp(now.data, mine->data, now.len) == 0;
	buf_release(&now);
	return same;
}

static bool
check_range(const struct verify_team *t, struct verify_bodies_range range,
    const struct buf *head, struct buf *out)
{
	struct verify_report *r = verify_report_new();
	struct verify_bodies_result result;
	char why[256];
	sqlite3 *db = verify_sql_open(t->file->path, why, sizeof(why));
	bool ok;

	if (r != NULL)
		verify_report_begin(r, t->file->path, "journal");
	ok = r != NULL && db != NULL && db_seal(db, true) == 0 &&
	    db_exec(db, "BEGIN") == 0 && same_head(head, db) &&
	    verify_bodies_alone(
		db, t->control, r, range, t->file->end, &result);
	if (ok) {
		buf_put_u64(out, result.purged);
		buf_put_u64(out, result.repeats);
		buf_put_u64(out, result.repeat_seq);
		buf_put_u64(out, result.repeat_of);
		verify_report_pack(r, out);
	}
	if (db != NULL)
		db_close(db);
	verify_report_free(r);
	return ok && !out->failed;
}

/* The helper's life; what it wrote counts only when it ends with 0. */
_Noreturn static void
help(const struct verify_team *t, struct verify_bodies_range range,
    const struct buf *head, int fd)
{
	struct buf out;
	size_t done = 0;

	buf_init(&out);
	if (!check_range(t, range, head, &out))
		_exit(1);
	while (done < out.len) {
		ssize_t n = write(fd, out.data + done, out.len - done);

		if (n < 0 && errno != EINTR)
			_exit(1);
		done += n > 0 ? (size_t)n : 0;
	}
	_exit(0);
}

static void
start_helper(struct verify_team *t, unsigned i, const struct buf *head)
{
	int ends[2];

	t->helper[i].pid = 0;
	t->helper[i].fd = -1;
	if (pipe2(ends, O_CLOEXEC) != 0)
		return;
	t->helper[i].pid = fork();
	if (t->helper[i].pid == 0) {
		(void)close(ends[0]); /* the walk's end */
		help(t, t->helper[i].range, head, ends[1]);
	}
	(void)close(ends[1]); /* the helper's end */
	if (t->helper[i].pid > 0) {
		t->helper[i].fd = ends[0];
		return;
	}
	t->helper[i].pid = 0;
	(void)close(ends[0]); /* nobody writes */
}

uint64_t
verify_team_start(struct verify_team *t, const struct verify_file *file,
    const struct verify_control *control)
{
	unsigned cpus = processors();
	uint64_t size, own_end, each;
	struct buf head;

	memset(t, 0, sizeof(*t));
	t->file = file;
	t->control = control;
	size = file->end > file->first ? file->end - file->first : 0;
	if (cpus < 2 || size < WORTH_WHILE || file->end > INT64_MAX / 256)
		return UINT64_MAX;
	buf_init(&head);
	if (!read_head(file->db, &head)) {
		buf_release(&head);
		return UINT64_MAX;
	}
	t->count = cpus - 1 < VERIFY_TEAM_MAX ? cpus - 1 : VERIFY_TEAM_MAX;
	own_end = file->first + (t->count == 1 ? size / 100 * OWN_PERCENT : 0);
	each = (file->end - own_end) / t->count;
	for (unsigned i = 0; i < t->count; i++) {
		t->helper[i].range.from = own_end + i * each;
		t->helper[i].range.to =
		    i + 1 == t->count ? UINT64_MAX : own_end + (i + 1) * each;
		start_helper(t, i, &head);
	}
	buf_release(&head);
	return own_end;
}

/* What a helper wrote; false unless it ended well. */
static bool
collect(struct verify_team *t, unsigned i, struct buf *out)
{
	int status = -1;
	bool got;

	if (t->helper[i].pid == 0)
		return false;
	got = file_read_fd(t->helper[i].fd, RESULT_MAX, out) == 0;
	(void)close(t->helper[i].fd); /* only read */
	while (waitpid(t->helper[i].pid, &status, 0) < 0)
		if (errno != EINTR)
			return false;
	return got && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void
add(struct verify_bodies_result *sum, const struct verify_bodies_result *part)
{
	sum->purged += part->purged;
	if (sum->repeats == 0) {
		sum->repeat_seq = part->repeat_seq;
		sum->repeat_of = part->repeat_of;
	}
	sum->repeats += part->repeats;
}

static bool
take(struct verify_team *t, unsigned i, struct verify_report *r,
    const struct buf *text, struct verify_bodies_result *out)
{
	struct reader in = reader_of(buf_view(text));

	if (text->len == 0)
		return verify_bodies_alone(t->file->db, t->control, r,
		    t->helper[i].range, t->file->end, out);
	out->purged = reader_u64(&in);
	out->repeats = reader_u64(&in);
	out->repeat_seq = reader_u64(&in);
	out->repeat_of = reader_u64(&in);
	return verify_report_unpack(r, &in) && reader_done(&in);
}

bool
verify_team_join(struct verify_team *t, bool wanted, struct verify_report *r,
    struct verify_bodies_result *out)
{
	bool ok = true;

	for (unsigned i = 0; i < t->count; i++) {
		struct verify_bodies_result part;
		struct buf text;

		buf_init(&text);
		if (!collect(t, i, &text))
			buf_clear(&text);
		if (wanted && ok) {
			ok = take(t, i, r, &text, &part);
			if (ok)
				add(out, &part);
		}
		buf_release(&text);
	}
	return ok;
}
