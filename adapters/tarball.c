/*
 * Archives each batch as a BagIt bag in one file NAME.tar.zst;
 * chancery-adapter(7).
 */
#include "adapters/bag.h"
#include "adapters/filing.h"

static const struct filing_format format = {
    .suffix = BAG_SUFFIX,
    .write = bag_write,
    .read = bag_read,
};

int
main(void)
{
	static const struct adapter_ops ops = {
	    .program = "tarball",
	    .configure = filing_configure,
	    .begin = filing_begin,
	    .event = filing_event,
	    .end = filing_end,
	    .abandon = filing_abandon,
	    .readback = filing_readback,
	};
	struct filing self = {.format = &format};

	return adapter_main(&ops, &self);
}
