#ifndef TESTS_UNIT_POWER_FILES_H
#define TESTS_UNIT_POWER_FILES_H

/*
 * A disk below one folder of plain files that can fail and lose power. The
 * program is linked with --wrap of each call below, so that what the code
 * under test does to the folder passes through here. What fsync() of a file
 * covered is its content on the disk; names are on the disk when the folder
 * was synced. When the power goes, every content that was not synced is lost,
 * kept or torn, and of the names each single change is lost or kept, in any
 * mixture: no order is taken for granted.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"

#define DISK_FILES 64
#define DISK_CHANGES 64
#define DISK_NAMES 32
#define DISK_NAME 256
#define DISK_BYTES 65536

struct disk_file {
	ino_t ino;
	struct buf synced, now;
};

struct disk_name {
	char name[DISK_NAME]; /* empty: free */
	ino_t ino;
};

/* `from` goes, `to` comes; either may be empty. */
struct disk_change {
	char from[DISK_NAME], to[DISK_NAME];
	ino_t ino;
};

static struct disk {
	char dir[64];
	struct disk_file file[DISK_FILES];
	size_t files;
	struct disk_name name[DISK_NAMES]; /* as the disk has them */
	struct disk_change change[DISK_CHANGES];
	size_t changes;
	unsigned operations, cut_at, fail_at; /* 0: never */
	bool on, dead;
	uint64_t chance;
} disk;

int __real_mkostemp(char *name, int flags);
ssize_t __real_write(int fd, const void *p, size_t n);
ssize_t __real_pwrite(int fd, const void *p, size_t n, off_t at);
int __real_fsync(int fd);
int __real_renameat2(
    int a, const char *from, int b, const char *to, unsigned flags);
int __real_unlink(const char *path);
int __real_unlinkat(int dir, const char *path, int flags);
int __wrap_mkostemp(char *name, int flags);
ssize_t __wrap_write(int fd, const void *p, size_t n);
ssize_t __wrap_pwrite(int fd, const void *p, size_t n, off_t at);
int __wrap_fsync(int fd);
int __wrap_renameat2(
    int a, const char *from, int b, const char *to, unsigned flags);
int __wrap_unlink(const char *path);
int __wrap_unlinkat(int dir, const char *path, int flags);

static inline uint64_t
disk_chance(uint64_t below)
{
	disk.chance ^= disk.chance << 13;
	disk.chance ^= disk.chance >> 7;
	disk.chance ^= disk.chance << 17;
	return disk.chance % below;
}

/* One operation: 0 when it is to be done, else -1 with errno. */
static inline int
disk_step(void)
{
	if (!disk.on)
		return 0;
	if (!disk.dead && ++disk.operations != disk.fail_at) {
		disk.dead = disk.operations == disk.cut_at;
		return 0;
	}
	errno = EIO;
	return -1;
}

/* Done; but nobody hears of it when the power went meanwhile. */
static inline int
disk_done(int r)
{
	if (!disk.on || !disk.dead)
		return r;
	errno = EIO;
	return -1;
}

static inline struct disk_file *
disk_file_of(ino_t ino)
{
	for (size_t i = 0; i < disk.files; i++)
		if (disk.file[i].ino == ino)
			return &disk.file[i];
	if (disk.files == DISK_FILES)
		abort();
	disk.file[disk.files] = (struct disk_file){.ino = ino};
	buf_init(&disk.file[disk.files].synced);
	buf_init(&disk.file[disk.files].now);
	return &disk.file[disk.files++];
}

static inline const char *
disk_base(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash == NULL ? path : slash + 1;
}

static inline ino_t
disk_ino(int dir, const char *path)
{
	struct stat st;

	return fstatat(dir, path, &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_ino
								 : 0;
}

static inline void
disk_changed(const char *from, const char *to, ino_t ino)
{
	struct disk_change *c = &disk.change[disk.changes++];

	if (!disk.on) {
		disk.changes = 0;
		return;
	}
	if (disk.changes == DISK_CHANGES)
		abort();
	(void)snprintf(c->from, sizeof c->from, "%s", disk_base(from));
	(void)snprintf(c->to, sizeof c->to, "%s", disk_base(to));
	c->ino = ino;
}

/* Content of the open file, as all who read it see it. */
static inline void
disk_read(int fd, struct buf *out)
{
	uint8_t bytes[DISK_BYTES];
	char path[64];
	int other;
	ssize_t n;

	(void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	other = open(path, O_RDONLY | O_CLOEXEC);
	n = other < 0 ? -1 : read(other, bytes, sizeof bytes);
	if (n < 0 || (size_t)n == sizeof bytes || close(other) != 0)
		abort();
	buf_clear(out);
	buf_put(out, bytes, (size_t)n);
}

/* NULL when it is none of the folder's. */
static inline struct disk_file *
disk_open_file(int fd)
{
	char link[64], path[256];
	struct stat st;
	ssize_t n;

	(void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof path - 1);
	if (!disk.on || n < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return NULL;
	path[n] = '\0';
	if (strncmp(path, disk.dir, strlen(disk.dir)) != 0)
		return NULL;
	return disk_file_of(st.st_ino);
}

static inline void
disk_set_name(const char *name, ino_t ino)
{
	struct disk_name *free_one = NULL;

	for (size_t i = 0; i < DISK_NAMES; i++) {
		struct disk_name *n = &disk.name[i];

		if (strcmp(n->name, name) == 0) {
			n->ino = ino;
			if (ino == 0)
				n->name[0] = '\0';
			return;
		}
		if (n->name[0] == '\0' && free_one == NULL)
			free_one = n;
	}
	if (ino == 0)
		return;
	if (free_one == NULL)
		abort();
	(void)snprintf(free_one->name, sizeof free_one->name, "%s", name);
	free_one->ino = ino;
}

static inline void
disk_apply(const struct disk_change *c)
{
	if (c->from[0] != '\0')
		disk_set_name(c->from, 0);
	if (c->to[0] != '\0')
		disk_set_name(c->to, c->ino);
}

/* ---- the calls ---- */

int
__wrap_mkostemp(char *name, int flags)
{
	struct disk_file *f;
	struct stat st;
	int fd;

	if (disk_step() != 0)
		return -1;
	fd = __real_mkostemp(name, flags);
	if (fd >= 0 && disk.on && fstat(fd, &st) == 0) {
		f = disk_file_of(st.st_ino); /* a number may come again */
		buf_clear(&f->synced);
		buf_clear(&f->now);
		disk_changed("", name, st.st_ino);
	}
	if (disk_done(0) == 0)
		return fd;
	(void)close(fd);
	return -1;
}

ssize_t
__wrap_pwrite(int fd, const void *p, size_t n, off_t at)
{
	struct disk_file *f = disk_open_file(fd);
	ssize_t r;

	if (f == NULL)
		return __real_pwrite(fd, p, n, at);
	if (disk_step() != 0)
		return -1;
	r = __real_pwrite(fd, p, n, at);
	disk_read(fd, &f->now);
	return disk_done(0) == 0 ? r : -1;
}

ssize_t
__wrap_write(int fd, const void *p, size_t n)
{
	struct disk_file *f = disk_open_file(fd);
	ssize_t r;

	if (f == NULL)
		return __real_write(fd, p, n);
	if (disk_step() != 0)
		return -1;
	r = __real_write(fd, p, n);
	disk_read(fd, &f->now);
	return disk_done(0) == 0 ? r : -1;
}

int
__wrap_fsync(int fd)
{
	struct disk_file *f = disk_open_file(fd);

	if (disk_step() != 0)
		return -1;
	if (disk.dead)
		return disk_done(0);
	if (f != NULL) {
		buf_clear(&f->synced);
		buf_put_view(&f->synced, buf_view(&f->now));
		return 0;
	}
	for (size_t i = 0; i < disk.changes; i++)
		disk_apply(&disk.change[i]);
	disk.changes = 0;
	return 0;
}

int
__wrap_renameat2(int a, const char *from, int b, const char *to, unsigned flags)
{
	ino_t ino = disk_ino(a, from);
	int r;

	if (disk_step() != 0)
		return -1;
	r = __real_renameat2(a, from, b, to, flags);
	if (r == 0)
		disk_changed(from, to, ino);
	return disk_done(r);
}

int
__wrap_unlinkat(int dir, const char *path, int flags)
{
	int r;

	if (disk_step() != 0)
		return -1;
	r = __real_unlinkat(dir, path, flags);
	if (r == 0)
		disk_changed(path, "", 0);
	return disk_done(r);
}

int
__wrap_unlink(const char *path)
{
	return __wrap_unlinkat(AT_FDCWD, path, 0);
}

/* ---- the power ---- */

static inline void
disk_forget(void)
{
	for (size_t i = 0; i < disk.files; i++) {
		buf_release(&disk.file[i].synced);
		buf_release(&disk.file[i].now);
	}
	memset(&disk, 0, sizeof disk);
}

/* From now on; what is in the folder is on the disk. */
static inline void
disk_begin(const char *dir, uint64_t seed)
{
	const struct dirent *e;
	DIR *d;

	disk_forget();
	(void)snprintf(disk.dir, sizeof disk.dir, "%s", dir);
	d = opendir(dir);
	if (d == NULL)
		abort();
	disk.on = true;
	while ((e = readdir(d)) != NULL) {
		struct disk_file *f;
		int fd;

		if (e->d_name[0] == '.')
			continue;
		fd = openat(dirfd(d), e->d_name, O_RDONLY | O_CLOEXEC);
		f = fd < 0 ? NULL : disk_open_file(fd);
		if (f == NULL)
			abort();
		disk_read(fd, &f->now);
		buf_put_view(&f->synced, buf_view(&f->now));
		disk_set_name(e->d_name, f->ino);
		(void)close(fd); /* only read from */
	}
	(void)closedir(d); /* only read from */
	disk.chance = seed * 2654435761U + 1;
}

/* The content that the disk has: as synced, as written last, or torn. */
static inline struct view
disk_settled(struct disk_file *f)
{
	size_t n;

	switch (disk_chance(3)) {
	case 0:
		return buf_view(&f->synced);
	case 1:
		n = disk_chance(f->now.len + 1);
		return f->synced.len > n ? buf_view(&f->synced)
					 : view_of(f->now.data, n);
	default:
		return buf_view(&f->now);
	}
}

/*
 * The power is back: the folder is as the disk has it, and nothing fails any
 * more. Nothing may be open.
 */
static inline void
disk_restore(void)
{
	char path[512];
	const struct dirent *e;
	DIR *d;

	disk.on = false;
	for (size_t i = 0; i < disk.changes; i++)
		if (disk_chance(2) == 0)
			disk_apply(&disk.change[i]);
	d = opendir(disk.dir);
	if (d == NULL)
		abort();
	while ((e = readdir(d)) != NULL)
		if (e->d_name[0] != '.' &&
		    __real_unlinkat(dirfd(d), e->d_name, 0) != 0)
			abort();
	(void)closedir(d); /* only read from */
	for (size_t i = 0; i < DISK_NAMES; i++) {
		struct view content;
		FILE *out;

		if (disk.name[i].name[0] == '\0')
			continue;
		content = disk_settled(disk_file_of(disk.name[i].ino));
		(void)snprintf(
		    path, sizeof path, "%s/%s", disk.dir, disk.name[i].name);
		out = fopen(path, "w");
		if (out == NULL ||
		    (content.n > 0 &&
			fwrite(content.p, 1, content.n, out) != content.n) ||
		    fclose(out) != 0 || chmod(path, 0600) != 0)
			abort();
	}
}

#endif
