/*
 * The adapter helper and the readers of archives. The first byte chooses:
 * an engine's lines into a running adapter, an event through spool and
 * syslog, an XML archive, a bag.
 */

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "adapters/adapter.h"
#include "adapters/bag.h"
#include "adapters/evidence_xml.h"
#include "adapters/message.h"
#include "adapters/syslog_message.h"
#include "base/crypto.h"
#include "base/log.h"

#define SYSLOG_LIMIT 1024

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int nowhere;

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	crypto_init();
	log_init("fuzz", LOG_LEVEL_ERROR);
	nowhere = memfd_create("out", MFD_CLOEXEC);
	return nowhere < 0 ? -1 : 0;
}

static int
file_of(const uint8_t *data, size_t size)
{
	int fd = memfd_create("in", MFD_CLOEXEC);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size ||
	    lseek(fd, 0, SEEK_SET) != 0)
		abort();
	return fd;
}

/* What is handed on was checked. */
static bool
see_event(void *arg, const struct adapter_event *e)
{
	struct adapter_event copy = *e;
	struct buf why;

	(void)arg;
	buf_init(&why);
	if (!message_check_event(&copy, &why) || copy.at != e->at)
		abort();
	buf_release(&why);
	return true;
}

static bool
take_event(void *self, struct adapter *a, const struct adapter_event *e)
{
	(void)a;
	return see_event(self, e);
}

static void
run_adapter(const uint8_t *data, size_t size)
{
	static const struct adapter_ops ops = {
	    .program = "fuzz", .event = take_event};
	int in = file_of(data, size);

	if (ftruncate(nowhere, 0) != 0 || lseek(nowhere, 0, SEEK_SET) != 0)
		abort();
	(void)adapter_run(&ops, NULL, in, nowhere);
	(void)close(in);
}

static bool
see_message(void *arg, struct view message)
{
	(void)arg;
	if (message.n > SYSLOG_LIMIT)
		abort();
	return true;
}

static void
compose(const uint8_t *data, size_t size)
{
	static const struct adapter_config config = {
	    .adapter = "a", .domain = "d", .origin = "o", .vkey = "v"};
	static const struct adapter_batch batch = {.root = "", .note = ""};
	const struct syslog_message_source source = {.config = &config,
	    .batch = &batch,
	    .limit = SYSLOG_LIMIT,
	    .put = see_message};
	struct adapter_event e = {.kind = 3, .parts = 2};

	if (size < 2)
		return;
	e.seq = data[0];
	e.leaf = view_of("leaf/1\n", 7);
	e.part[0].data = view_of(data + 2, data[1] % (size - 1));
	e.part[1].data = view_of(data + 2, size - 2);
	(void)syslog_message_event(&source, &e);
}

static void
read_archive(
    bool (*read_file)(int fd, filing_event_cb *cb, void *arg, struct buf *why),
    const uint8_t *data, size_t size)
{
	int fd = file_of(data, size);
	struct buf why;

	buf_init(&why);
	if (!read_file(fd, see_event, NULL, &why) && why.len == 0)
		abort();
	buf_release(&why);
	(void)close(fd);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	switch (data[0] % 4) {
	case 0:
		run_adapter(data + 1, size - 1);
		break;
	case 1:
		compose(data + 1, size - 1);
		break;
	case 2:
		read_archive(evidence_xml_read, data + 1, size - 1);
		break;
	default:
		read_archive(bag_read, data + 1, size - 1);
	}
	return 0;
}
