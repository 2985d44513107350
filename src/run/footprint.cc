#include "run/footprint.h"

#include <elf.h>
#include <link.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

extern "C" const char __ehdr_start;  // the linker's: where the program's first segment is loaded

namespace rayctl::run {

void release_code_pages() noexcept {
  auto* header = reinterpret_cast<const ElfW(Phdr)*>(getauxval(AT_PHDR));
  size_t count = getauxval(AT_PHNUM);
  uintptr_t base = reinterpret_cast<uintptr_t>(&__ehdr_start);
  uintptr_t first = UINTPTR_MAX;
  for (size_t i = 0; i < count; ++i)
    if (header[i].p_type == PT_LOAD && header[i].p_vaddr < first) first = header[i].p_vaddr;
  uintptr_t offset = base - first;  // zero, unless the program is position-independent
  uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  for (size_t i = 0; i < count; ++i) {
    // Never a writable one: what was written there would be lost.
    if (header[i].p_type != PT_LOAD || (header[i].p_flags & PF_W)) continue;
    uintptr_t start = (header[i].p_vaddr + offset + page - 1) & ~(page - 1);
    uintptr_t end = (header[i].p_vaddr + offset + header[i].p_memsz) & ~(page - 1);
    if (end > start) madvise(reinterpret_cast<void*>(start), end - start, MADV_DONTNEED);
  }
}

}  // namespace rayctl::run
