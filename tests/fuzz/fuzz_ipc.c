/* The IPC decoder: frames out of any bytes, in any pieces. */

#include <stdlib.h>

#include "base/ipc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ipc_decoder d;
	struct view payload;
	uint16_t type;
	size_t step = size > 0 ? 1 + data[0] % 16 : 1;
	size_t taken = 0;

	ipc_decoder_init(&d);
	for (size_t at = 0; at < size; at += step) {
		enum ipc_verdict verdict;

		buf_put(&d.in, data + at, step < size - at ? step : size - at);
		while ((verdict = ipc_decoder_next(&d, &type, &payload)) ==
		    IPC_FRAME)
			taken += payload.n + 8;
		/* Never more out than went in. */
		if (taken > size)
			abort();
		if (verdict == IPC_BROKEN)
			break;
	}
	ipc_decoder_release(&d);
	return 0;
}
