// `rayctl cp`: one side sends a tar stream, the other takes it. The container's side runs inside the
// container, from rayctl's own binary there, so that no path is ever resolved outside of it.
#pragma once

#include <string>
#include <string_view>

namespace rayctl::ray {

// Early dispatch: `copy-send PATH` writes a pax stream of PATH to stdout, `copy-receive DEST` takes one from
// stdin.
int copy_main(int argc, char** argv);

// Whose the received files become.
enum class CopyOwner { receiver, archive };

// Sends PATH: a file under its last name, a directory with all below it; "DIR/." sends only what is in it.
// `follow` sends what a symlink at PATH points to.
enum class CopyLink { keep, follow };
void copy_send(const std::string& path, CopyLink link, int out_fd);

// Takes a stream at DEST with docker cp's rules: an existing directory gets the source inside, another name
// becomes the source's name. Refuses entries that leave DEST or pass through a symlink.
void copy_receive(const std::string& dest, CopyOwner owner, int in_fd);

enum class CopyKind { missing, file, directory };

// Pure: where the stream's entries go.
struct CopyPlan {
  std::string directory;  // extract here (exists)
  std::string from, to;   // entries' first component `from` becomes `to`; equal when nothing changes
};
// `top` is the first entry's first component ("." = only the content); `dest` as given, its kind, and its
// parent's.
CopyPlan plan_copy(std::string_view top, CopyKind source, const std::string& dest, CopyKind dest_kind,
                   CopyKind parent_kind);

}  // namespace rayctl::ray
