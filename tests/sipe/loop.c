/* libpurple's event loop operations on glib's main loop. */

#include "tests/sipe/sipe-driver.h"

struct watch {
	PurpleInputFunction call;
	gpointer arg;
};

static gboolean
watch_fired(GIOChannel *channel, GIOCondition condition, gpointer data)
{
	struct watch *w = data;
	PurpleInputCondition what = 0;

	if (condition & (G_IO_IN | G_IO_HUP | G_IO_ERR))
		what |= PURPLE_INPUT_READ;
	if (condition & (G_IO_OUT | G_IO_HUP | G_IO_ERR | G_IO_NVAL))
		what |= PURPLE_INPUT_WRITE;
	w->call(w->arg, g_io_channel_unix_get_fd(channel), what);
	return TRUE;
}

static guint
watch_add(gint fd, PurpleInputCondition condition, PurpleInputFunction call,
    gpointer arg)
{
	struct watch *w = g_new0(struct watch, 1);
	GIOCondition wanted = 0;
	GIOChannel *channel;
	guint id;

	w->call = call;
	w->arg = arg;
	if (condition & PURPLE_INPUT_READ)
		wanted |= G_IO_IN | G_IO_HUP | G_IO_ERR;
	if (condition & PURPLE_INPUT_WRITE)
		wanted |= G_IO_OUT | G_IO_HUP | G_IO_ERR | G_IO_NVAL;
	channel = g_io_channel_unix_new(fd);
	id = g_io_add_watch_full(
	    channel, G_PRIORITY_DEFAULT, wanted, watch_fired, w, g_free);
	g_io_channel_unref(channel);
	return id;
}

PurpleEventLoopUiOps *
driver_loop_ops(void)
{
	static PurpleEventLoopUiOps ops = {
	    .timeout_add = g_timeout_add,
	    .timeout_remove = g_source_remove,
	    .input_add = watch_add,
	    .input_remove = g_source_remove,
	    .timeout_add_seconds = g_timeout_add_seconds,
	};

	return &ops;
}
