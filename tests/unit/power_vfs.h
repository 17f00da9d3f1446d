#ifndef TESTS_UNIT_POWER_VFS_H
#define TESTS_UNIT_POWER_VFS_H

/*
 * A disk below SQLite that can fail and lose power. It stands on the system's
 * VFS and remembers what was written since the last sync of each file. When
 * the power goes, each such write is kept, lost or torn by chance, in files
 * that SQLite has never synced as well; what was synced stays.
 */

#include <fcntl.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crypto.h"

#define POWER_SECTOR 512
#define POWER_FILES 48
#define POWER_DRAWS 16 /* of what a cut loses, when names are among it */

/* A write or (bytes == NULL) truncation that no sync has covered yet. */
struct power_write {
	off_t at;
	size_t len;
	off_t size_before;
	uint8_t *before; /* what was there, zeroes behind the end */
	uint8_t *bytes;
};

struct power_file {
	char path[512];
	bool used;
	struct power_write *pending;
	size_t count;
};

static struct power {
	sqlite3_vfs vfs, *real;
	struct power_file file[POWER_FILES];
	unsigned operations; /* writes, truncations, syncs and removals */
	unsigned cut_at;     /* the power goes at this one; 0: never */
	unsigned fail_at;    /* this one fails, once; 0: none */
	int failure;
	bool dead;
	uint64_t chance;
	int (*remove)(const char *path); /* NULL: removals are never lost */
	unsigned draws;
} power;

struct power_handle {
	sqlite3_file base;
	struct power_file *file; /* NULL: temporary */
	sqlite3_file *real;
};

static inline uint64_t
power_chance(uint64_t below)
{
	power.chance ^= power.chance << 13;
	power.chance ^= power.chance >> 7;
	power.chance ^= power.chance << 17;
	return power.chance % below;
}

/* One operation: SQLITE_OK when it is to be done. */
static inline int
power_step(void)
{
	if (power.dead)
		return SQLITE_IOERR;
	power.operations++;
	if (power.operations == power.fail_at)
		return power.failure;
	if (power.operations == power.cut_at)
		power.dead = true;
	return SQLITE_OK;
}

static inline struct power_file *
power_find(const char *path)
{
	struct power_file *free_one = NULL;

	for (size_t i = 0; i < POWER_FILES; i++) {
		if (power.file[i].used && strcmp(power.file[i].path, path) == 0)
			return &power.file[i];
		if (!power.file[i].used && free_one == NULL)
			free_one = &power.file[i];
	}
	if (free_one == NULL)
		abort();
	free_one->used = true;
	(void)snprintf(free_one->path, sizeof free_one->path, "%s", path);
	return free_one;
}

static inline void
power_forget(struct power_file *f)
{
	for (size_t i = 0; i < f->count; i++) {
		free(f->pending[i].before);
		free(f->pending[i].bytes);
	}
	free(f->pending);
	f->pending = NULL;
	f->count = 0;
}

static inline void
power_gone(const char *path)
{
	for (size_t i = 0; i < POWER_FILES; i++)
		if (power.file[i].used &&
		    strcmp(power.file[i].path, path) == 0) {
			power_forget(&power.file[i]);
			power.file[i].used = false;
		}
}

static inline void
power_remember(
    struct power_handle *h, const void *bytes, size_t len, sqlite3_int64 at)
{
	struct power_file *f = h->file;
	struct power_write *w;
	sqlite3_int64 size = 0;

	f->pending = reallocarray(f->pending, f->count + 1, sizeof *w);
	if (f->pending == NULL ||
	    h->real->pMethods->xFileSize(h->real, &size) != SQLITE_OK)
		abort();
	w = &f->pending[f->count++];
	*w = (struct power_write){.at = at, .len = len, .size_before = size};
	if (bytes == NULL) {
		w->len = size > at ? (size_t)(size - at) : 0;
	} else if ((w->bytes = malloc(len + 1)) == NULL) {
		abort();
	} else {
		memcpy(w->bytes, bytes, len);
	}
	if ((w->before = calloc(1, w->len + 1)) == NULL)
		abort();
	if (w->len > 0)
		(void)h->real->pMethods->xRead(
		    h->real, w->before, (int)w->len, at); /* zeroes the rest */
}

static inline void
power_put(int fd, const uint8_t *bytes, size_t len, off_t at)
{
	if (len > 0 && pwrite(fd, bytes, len, at) != (ssize_t)len)
		abort();
}

/* The file as the disk holds it when the power is back. */
static inline void
power_settle(struct power_file *f)
{
	int fd = open(f->path, O_RDWR | O_CLOEXEC);

	if (fd < 0 && f->count > 0)
		abort();
	for (size_t i = f->count; i-- > 0;) {
		const struct power_write *w = &f->pending[i];

		power_put(fd, w->before, w->len, w->at);
		if (ftruncate(fd, w->size_before) != 0)
			abort();
	}
	for (size_t i = 0; i < f->count; i++) {
		const struct power_write *w = &f->pending[i];
		size_t len = w->len;

		switch (power_chance(3)) {
		case 0: /* lost */
			continue;
		case 1: /* torn between two sectors */
			if (w->bytes != NULL)
				len = power_chance(len / POWER_SECTOR + 1) *
				    POWER_SECTOR;
			break;
		default:
			break;
		}
		if (w->bytes != NULL)
			power_put(fd, w->bytes, len, w->at);
		else if (ftruncate(fd, w->at) != 0)
			abort();
	}
	if (fd >= 0)
		(void)close(fd); /* what it holds is looked at next */
	power_forget(f);
	f->used = false;
}

/* ---- the methods of a file ---- */

static inline struct power_handle *
power_handle(sqlite3_file *f)
{
	return (struct power_handle *)(void *)f;
}

static int
power_close(sqlite3_file *f)
{
	struct power_handle *h = power_handle(f);

	return h->real->pMethods->xClose(h->real);
}

static int
power_read(sqlite3_file *f, void *out, int len, sqlite3_int64 at)
{
	struct power_handle *h = power_handle(f);

	return h->real->pMethods->xRead(h->real, out, len, at);
}

static int
power_write(sqlite3_file *f, const void *bytes, int len, sqlite3_int64 at)
{
	struct power_handle *h = power_handle(f);
	int r = power_step();

	if (r != SQLITE_OK)
		return r;
	if (h->file != NULL)
		power_remember(h, bytes, (size_t)len, at);
	r = h->real->pMethods->xWrite(h->real, bytes, len, at);
	return power.dead ? SQLITE_IOERR_WRITE : r;
}

static int
power_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	struct power_handle *h = power_handle(f);
	int r = power_step();

	if (r != SQLITE_OK)
		return r;
	if (h->file != NULL)
		power_remember(h, NULL, 0, size);
	r = h->real->pMethods->xTruncate(h->real, size);
	return power.dead ? SQLITE_IOERR_TRUNCATE : r;
}

static int
power_sync(sqlite3_file *f, int flags)
{
	struct power_handle *h = power_handle(f);
	int r = power_step();

	(void)flags; /* nothing below needs to be really synced */
	if (r != SQLITE_OK)
		return r;
	if (power.dead)
		return SQLITE_IOERR_FSYNC;
	if (h->file != NULL)
		power_forget(h->file);
	return SQLITE_OK;
}

static int
power_size(sqlite3_file *f, sqlite3_int64 *out)
{
	struct power_handle *h = power_handle(f);

	return h->real->pMethods->xFileSize(h->real, out);
}

static int
power_lock(sqlite3_file *f, int level)
{
	struct power_handle *h = power_handle(f);

	return h->real->pMethods->xLock(h->real, level);
}

static int
power_unlock(sqlite3_file *f, int level)
{
	struct power_handle *h = power_handle(f);

	return h->real->pMethods->xUnlock(h->real, level);
}

static int
power_reserved(sqlite3_file *f, int *out)
{
	struct power_handle *h = power_handle(f);

	return h->real->pMethods->xCheckReservedLock(h->real, out);
}

static int
power_control(sqlite3_file *f, int op, void *arg)
{
	struct power_handle *h = power_handle(f);

	return h->real->pMethods->xFileControl(h->real, op, arg);
}

static int
power_sector(sqlite3_file *f)
{
	(void)f;
	return POWER_SECTOR;
}

/* None: neither atomic nor in order, as the worst of disks. */
static int
power_device(sqlite3_file *f)
{
	(void)f;
	return 0;
}

static int
power_shm_map(
    sqlite3_file *f, int page, int size, int extend, void volatile **out)
{
	struct power_handle *h = power_handle(f);

	return h->real->pMethods->xShmMap(h->real, page, size, extend, out);
}

static int
power_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
	struct power_handle *h = power_handle(f);

	return h->real->pMethods->xShmLock(h->real, offset, n, flags);
}

static void
power_shm_barrier(sqlite3_file *f)
{
	struct power_handle *h = power_handle(f);

	h->real->pMethods->xShmBarrier(h->real);
}

static int
power_shm_unmap(sqlite3_file *f, int delete)
{
	struct power_handle *h = power_handle(f);

	return h->real->pMethods->xShmUnmap(h->real, delete);
}

static const sqlite3_io_methods power_methods = {
    .iVersion = 2,
    .xClose = power_close,
    .xRead = power_read,
    .xWrite = power_write,
    .xTruncate = power_truncate,
    .xSync = power_sync,
    .xFileSize = power_size,
    .xLock = power_lock,
    .xUnlock = power_unlock,
    .xCheckReservedLock = power_reserved,
    .xFileControl = power_control,
    .xSectorSize = power_sector,
    .xDeviceCharacteristics = power_device,
    .xShmMap = power_shm_map,
    .xShmLock = power_shm_lock,
    .xShmBarrier = power_shm_barrier,
    .xShmUnmap = power_shm_unmap,
};

static int
power_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags,
    int *out_flags)
{
	struct power_handle *h = power_handle(f);
	int r;

	(void)vfs;
	h->real = (sqlite3_file *)(void *)(h + 1);
	h->file = name == NULL ? NULL : power_find(name);
	r = power.real->xOpen(power.real, name, h->real, flags, out_flags);
	h->base.pMethods = h->real->pMethods != NULL ? &power_methods : NULL;
	return r;
}

/* SQLite removes nothing that a WAL still needs. */
static int
power_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
	int r = power_step();

	(void)vfs;
	if (r != SQLITE_OK || power.dead)
		return r != SQLITE_OK ? r : SQLITE_IOERR_DELETE;
	if (power.remove != NULL)
		return power.remove(name) == 0 ? SQLITE_OK
					       : SQLITE_IOERR_DELETE_NOENT;
	power_forget(power_find(name));
	return power.real->xDelete(power.real, name, sync);
}

/* From now on all of SQLite in this process stands on the disk of power. */
static inline void
power_install(void)
{
	power.real = sqlite3_vfs_find(NULL);
	power.vfs = *power.real;
	power.vfs.pNext = NULL;
	power.vfs.zName = "power";
	power.vfs.szOsFile =
	    (int)sizeof(struct power_handle) + power.real->szOsFile;
	power.vfs.xOpen = power_open;
	power.vfs.xDelete = power_delete;
	if (sqlite3_vfs_register(&power.vfs, 1) != SQLITE_OK)
		abort();
}

static inline void
power_uninstall(void)
{
	if (sqlite3_vfs_unregister(&power.vfs) != SQLITE_OK)
		abort();
	memset(&power, 0, sizeof power);
}

/* Counts from zero on other files; nothing fails yet. */
static inline void
power_begin(uint64_t seed)
{
	for (size_t i = 0; i < POWER_FILES; i++) {
		power_forget(&power.file[i]);
		power.file[i].used = false;
	}
	power.operations = power.cut_at = power.fail_at = 0;
	power.dead = false;
	power.chance = seed * 2654435761U + 1;
}

/*
 * A sweep takes every CHANCERY_STRIDE'th operation (else every `usual`), from
 * one by chance on; 1 takes all. Gives the distance and sets *first.
 */
static inline unsigned
power_stride(unsigned usual, unsigned *first)
{
	const char *text = getenv("CHANCERY_STRIDE");
	long n = text == NULL ? (long)usual : strtol(text, NULL, 10);
	uint32_t draw;

	crypto_random(&draw, sizeof draw);
	n = n < 1 ? 1 : n;
	*first = 1 + draw % (unsigned)n;
	power.draws = n == 1 ? POWER_DRAWS : 2;
	return (unsigned)n;
}

/* The power is back: all connections must be closed. */
static inline void
power_restore(void)
{
	for (size_t i = 0; i < POWER_FILES; i++)
		if (power.file[i].used)
			power_settle(&power.file[i]);
	power.dead = false;
	power.cut_at = power.fail_at = 0;
}

#endif
