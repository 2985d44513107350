#include "run/cgroup_devices.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>

#include "base/error.h"
#include "base/fd.h"

namespace rayctl::run {

namespace {

constexpr uint8_t kind = BPF_REG_2, access = BPF_REG_3, major_number = BPF_REG_4, minor_number = BPF_REG_5,
                  scratch = BPF_REG_6;

bpf_insn instruction(int code, uint8_t to, uint8_t from, int16_t offset, int32_t value) {
  bpf_insn i{};
  i.code = static_cast<uint8_t>(code);
  i.dst_reg = to & 0xf;
  i.src_reg = from & 0xf;
  i.off = offset;
  i.imm = value;
  return i;
}

bpf_insn load(uint8_t to, size_t offset) {
  return instruction(BPF_LDX | BPF_MEM | BPF_W, to, BPF_REG_1, static_cast<int16_t>(offset), 0);
}
bpf_insn alu(int operation, uint8_t to, int32_t value) {
  return instruction(BPF_ALU | operation | BPF_K, to, 0, 0, value);
}
bpf_insn jump(int condition, uint8_t of, int32_t value) {
  return instruction(BPF_JMP | condition | BPF_K, of, 0, 0, value);
}

int32_t access_bits(const std::string& text) {
  int32_t bits = 0;
  for (char c : text)
    bits |= c == 'r' ? BPF_DEVCG_ACC_READ : c == 'w' ? BPF_DEVCG_ACC_WRITE : BPF_DEVCG_ACC_MKNOD;
  return bits;
}

int32_t device_number(int64_t number) {
  if (number < 0 || number > INT32_MAX) throw Error("cannot filter device number {}: out of range", number);
  return static_cast<int32_t>(number);
}

long bpf(int command, bpf_attr& attr) {
  return syscall(SYS_bpf, command, &attr, sizeof attr);
}

}  // namespace

std::vector<bpf_insn> device_program(const std::vector<DeviceRule>& rules) {
  std::vector<bpf_insn> program{
      load(kind, offsetof(bpf_cgroup_dev_ctx, access_type)),
      load(access, offsetof(bpf_cgroup_dev_ctx, access_type)),
      alu(BPF_AND, kind, 0xffff),
      alu(BPF_RSH, access, 16),
      load(major_number, offsetof(bpf_cgroup_dev_ctx, major)),
      load(minor_number, offsetof(bpf_cgroup_dev_ctx, minor)),
  };
  auto verdict = [&](int32_t value) {
    program.push_back(alu(BPF_MOV, BPF_REG_0, value));
    program.push_back(instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
  };
  for (auto rule = rules.rbegin(); rule != rules.rend(); ++rule) {
    std::vector<size_t> to_next;
    auto test = [&](int condition, uint8_t of, int32_t value) {
      to_next.push_back(program.size());
      program.push_back(jump(condition, of, value));
    };
    if (rule->type != 'a') test(BPF_JNE, kind, rule->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
    if (rule->major) test(BPF_JNE, major_number, device_number(*rule->major));
    if (rule->minor) test(BPF_JNE, minor_number, device_number(*rule->minor));
    int32_t bits = access_bits(rule->access);
    if (rule->allow) {
      program.push_back(alu(BPF_AND, access, ~bits));  // what remains is for the rules before this one
      test(BPF_JNE, access, 0);
    } else {
      program.push_back(instruction(BPF_ALU | BPF_MOV | BPF_X, scratch, access, 0, 0));
      program.push_back(alu(BPF_AND, scratch, bits));
      test(BPF_JEQ, scratch, 0);
    }
    verdict(rule->allow);
    for (size_t at : to_next) program[at].off = static_cast<int16_t>(program.size() - at - 1);
  }
  verdict(1);
  return program;
}

void attach_device_program(int directory, const std::vector<bpf_insn>& program) {
  char log[4096] = "";
  static const char license[] = "Apache-2.0";
  bpf_attr attr{};
  attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  attr.insns = reinterpret_cast<uint64_t>(program.data());
  attr.insn_cnt = static_cast<uint32_t>(program.size());
  attr.license = reinterpret_cast<uint64_t>(license);
  Fd loaded{static_cast<int>(bpf(BPF_PROG_LOAD, attr))};
  if (!loaded) {
    int code = errno;
    attr.log_buf = reinterpret_cast<uint64_t>(log);
    attr.log_size = sizeof log;
    attr.log_level = 1;
    bpf(BPF_PROG_LOAD, attr);
    throw SysError(code, "cannot load the device filter{}{}", *log ? ": " : "", log);
  }

  uint32_t before[64] = {};
  attr = {};
  attr.query.target_fd = static_cast<uint32_t>(directory);
  attr.query.attach_type = BPF_CGROUP_DEVICE;
  attr.query.prog_cnt = 64;
  attr.query.prog_ids = reinterpret_cast<uint64_t>(before);
  Fd replaced;
  if (bpf(BPF_PROG_QUERY, attr) == 0 && attr.query.prog_cnt > 0) {
    bpf_attr by_id{};
    by_id.prog_id = before[0];
    replaced = Fd{static_cast<int>(bpf(BPF_PROG_GET_FD_BY_ID, by_id))};
  }
  attr = {};
  attr.target_fd = static_cast<uint32_t>(directory);
  attr.attach_bpf_fd = static_cast<uint32_t>(loaded.get());
  attr.attach_type = BPF_CGROUP_DEVICE;
  attr.attach_flags = BPF_F_ALLOW_MULTI;
  if (replaced) {
    attr.attach_flags |= BPF_F_REPLACE;
    attr.replace_bpf_fd = static_cast<uint32_t>(replaced.get());
  }
  check(bpf(BPF_PROG_ATTACH, attr), "cannot attach the device filter");
}

}  // namespace rayctl::run
