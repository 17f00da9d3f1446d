#include "export/verify_paths.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "export/verify_files.h"

/* The beginning of a JSON object with this member first. */
static bool
is_certificate(struct view head)
{
	static const char name[] = "\"certificate\"";
	size_t at = head.n > 0 && head.p[0] == '{';

	while (
	    at > 0 && at < head.n && memchr(" \t\r\n", head.p[at], 4) != NULL)
		at++;
	return at > 0 && head.n - at >= sizeof(name) - 1 &&
	    memcmp(head.p + at, name, sizeof(name) - 1) == 0;
}

static enum verify_type
type_of_content(const char *path)
{
	static const char database[] = "SQLite format 3";
	static const char zstd[] = "\x28\xb5\x2f\xfd";
	char head[64] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n;

	if (fd < 0)
		return VERIFY_TYPE_UNKNOWN;
	n = read(fd, head, sizeof(head));
	(void)close(fd); /* nothing was written */
	if (n >= 16 && memcmp(head, database, 16) == 0)
		return VERIFY_TYPE_JOURNAL;
	if (n >= 4 && memcmp(head, zstd, 4) == 0)
		return VERIFY_TYPE_BAG;
	if (n >= 5 && memcmp(head, "<?xml", 5) == 0)
		return VERIFY_TYPE_XML;
	if (n >= 16 && memcmp(head, "c2sp.org/tlog-pr", 16) == 0)
		return VERIFY_TYPE_PROOF;
	if (n >= 16 &&
	    (memcmp(head, "chancery-purge-c", 16) == 0 ||
		is_certificate(view_of(head, (size_t)n))))
		return VERIFY_TYPE_CERTIFICATE;
	return VERIFY_TYPE_UNKNOWN;
}

static bool
ends_in(const char *name, const char *suffix)
{
	size_t n = strlen(name), m = strlen(suffix);

	return n > m && strcmp(name + n - m, suffix) == 0;
}

static enum verify_type
type_of_name(const char *name)
{
	static const struct {
		const char *suffix;
		enum verify_type type;
	} suffixes[] = {
	    {".db", VERIFY_TYPE_JOURNAL},
	    {".tar.zst", VERIFY_TYPE_BAG},
	    {".xml", VERIFY_TYPE_XML},
	    {".tlog-proof", VERIFY_TYPE_PROOF},
	};

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
		if (ends_in(name, suffixes[i].suffix))
			return suffixes[i].type;
	return VERIFY_TYPE_UNKNOWN;
}

static bool
grow(struct verify_paths *p)
{
	size_t cap = p->cap == 0 ? 16 : p->cap * 2;
	struct verify_input *grown =
	    reallocarray(p->input, cap, sizeof(*grown));

	if (grown == NULL)
		return false;
	p->input = grown;
	p->cap = cap;
	return true;
}

static bool
append(struct verify_paths *p, const char *path, enum verify_type type)
{
	struct verify_input *in;

	if (p->count == p->cap && !grow(p)) {
		errno = ENOMEM;
		return false;
	}
	in = &p->input[p->count];
	memset(in, 0, sizeof(*in));
	in->type = type;
	in->path = strdup(path);
	p->count += in->path != NULL;
	return in->path != NULL;
}

/*
 * A strict archive's rendering is read through its side-car, which names and
 * hashes it.
 */
static bool
has_side_car(const char *path)
{
	char name[4096];
	struct stat st;
	size_t n = strlen(path);

	if (ends_in(path, ".evidence.xml") || n < 4 ||
	    n + sizeof(".evidence") > sizeof(name))
		return false;
	memcpy(name, path, n - 4);
	memcpy(name + n - 4, ".evidence.xml", sizeof(".evidence.xml"));
	return stat(name, &st) == 0;
}

static bool
in_folder(struct verify_paths *p, const char *path, const char *name)
{
	enum verify_type type = type_of_name(name);

	if (type == VERIFY_TYPE_UNKNOWN || name[0] == '.' ||
	    (type == VERIFY_TYPE_JOURNAL && strcmp(name, "journal.db") != 0 &&
		strncmp(name, "journal", 7) != 0)) {
		p->passed_over++;
		return true;
	}
	if (type == VERIFY_TYPE_XML && has_side_car(path))
		return true;
	if (!append(p, path, type))
		return false;
	p->input[p->count - 1].found = true;
	return true;
}

static bool
take_entry(struct verify_paths *p, const FTSENT *e)
{
	switch (e->fts_info) {
	case FTS_F:
		return in_folder(p, e->fts_path, e->fts_name);
	case FTS_D:
	case FTS_DP:
		return true;
	case FTS_DNR:
	case FTS_ERR:
	case FTS_NS:
		errno = e->fts_errno;
		return false;
	default:
		p->passed_over++; /* links, devices: never followed */
		return true;
	}
}

static bool
walk(struct verify_paths *p, const char *folder)
{
	char *root = strdup(folder);
	char *const roots[] = {root, NULL};
	FTS *tree;
	FTSENT *e = NULL;
	bool ok;

	tree = root == NULL ? NULL
			    : fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	ok = tree != NULL;
	while (ok && (errno = 0, e = fts_read(tree)) != NULL)
		ok = take_entry(p, e);
	ok = ok && errno == 0;
	if (tree != NULL)
		(void)fts_close(tree); /* nothing was written */
	free(root);
	return ok;
}

bool
verify_paths_add(struct verify_paths *p, const char *path)
{
	enum verify_type type;
	struct stat st;

	if (stat(path, &st) != 0)
		return false;
	if (S_ISDIR(st.st_mode))
		return walk(p, path);
	if (access(path, R_OK) != 0)
		return false;
	type = type_of_name(path);
	if (type == VERIFY_TYPE_UNKNOWN)
		type = type_of_content(path);
	if (type == VERIFY_TYPE_XML && has_side_car(path)) {
		char *side = NULL;
		bool ok = asprintf(&side, "%.*s.evidence.xml",
			      (int)(strlen(path) - 4), path) >= 0 &&
		    append(p, side, type);

		free(side);
		return ok;
	}
	return append(p, path, type);
}

/* What is judged by the help of others comes after these. */
static int
place(enum verify_type type)
{
	return type == VERIFY_TYPE_JOURNAL ? 2
					   : type == VERIFY_TYPE_CERTIFICATE;
}

static int
by_type(const void *a, const void *b)
{
	const struct verify_input *x = a, *y = b;
	int places = place(x->type) - place(y->type);

	return places != 0 ? places : strcmp(x->path, y->path);
}

/* A journal's file among those that may belong to it. */
struct placed {
	struct verify_input input;
	struct verify_place_of_file place;
	unsigned copy; /* so many others of this segment come before */
};

static int
by_place(const void *a, const void *b)
{
	const struct placed *x = a, *y = b;
	int journal = strcmp(x->place.journal, y->place.journal);

	if (journal != 0)
		return journal;
	if (x->copy != y->copy)
		return x->copy < y->copy ? -1 : 1;
	if (x->place.segment != y->place.segment)
		return x->place.segment < y->place.segment ? -1 : 1;
	return strcmp(x->input.path, y->input.path);
}

/* Two copies of a segment are of two copies of the journal. */
static void
number(struct placed *file, size_t count)
{
	qsort(file, count, sizeof(*file), by_place);
	for (size_t i = 1; i < count; i++)
		if (strcmp(file[i].place.journal, file[i - 1].place.journal) ==
			0 &&
		    file[i].place.segment == file[i - 1].place.segment)
			file[i].copy = file[i - 1].copy + 1;
	qsort(file, count, sizeof(*file), by_place);
	for (size_t i = 1; i < count; i++) {
		bool same = file[i].place.journal[0] != '\0' &&
		    strcmp(file[i].place.journal, file[i - 1].place.journal) ==
			0 &&
		    file[i].copy == file[i - 1].copy;

		file[i].input.group = file[i - 1].input.group + !same;
	}
}

static bool
group(struct verify_input *input, size_t count)
{
	struct placed *file = calloc(count + 1, sizeof(*file));

	if (file == NULL)
		return false;
	for (size_t i = 0; i < count; i++) {
		file[i].input = input[i];
		verify_files_place(input[i].path, &file[i].place);
	}
	number(file, count);
	for (size_t i = 0; i < count; i++)
		input[i] = file[i].input;
	free(file);
	return true;
}

/* A file named twice, or by its rendering and its side-car, is read once. */
bool
verify_paths_sort(struct verify_paths *p)
{
	size_t n = 0, journals = 0;

	if (p->count == 0)
		return true;
	qsort(p->input, p->count, sizeof(*p->input), by_type);
	for (size_t i = 0; i < p->count; i++) {
		if (n > 0 &&
		    strcmp(p->input[n - 1].path, p->input[i].path) == 0)
			free(p->input[i].path);
		else
			p->input[n++] = p->input[i];
	}
	p->count = n;
	while (journals < n &&
	    p->input[n - journals - 1].type == VERIFY_TYPE_JOURNAL)
		journals++;
	return group(p->input + n - journals, journals);
}

void
verify_paths_release(struct verify_paths *p)
{
	for (size_t i = 0; i < p->count; i++)
		free(p->input[i].path);
	free(p->input);
	memset(p, 0, sizeof(*p));
}
