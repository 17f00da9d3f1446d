#ifndef EXPORT_ANCHOR_FILES_H
#define EXPORT_ANCHOR_FILES_H

/*
 * chancery-export anchors: the checkpoints that others have confirmed, with
 * what they gave, as files for other people's tools.
 */

/* Arguments from "anchors" on; the exit status of the program. */
int anchor_files_main(int argc, char **argv);

#endif
