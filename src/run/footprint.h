// What a process that stays for long keeps in memory.
#pragma once

namespace rayctl::run {

// Unmaps the pages of the program's code and constants that were touched so far, so that only what is used
// from now on counts as resident; each comes back from the page cache when it is used. Allocates nothing.
void release_code_pages() noexcept;

}  // namespace rayctl::run
