#include "wg/data_path.h"

#include <time.h>

#include <algorithm>
#include <cstring>

namespace rayctl::wg {

namespace {

constexpr int frames_at_once = 16;
constexpr int handshakes_at_once = 8;  // about a millisecond
constexpr size_t padding = 16;

Time read_clock(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

}  // namespace

Moment moment() {
  return {read_clock(CLOCK_BOOTTIME), static_cast<uint64_t>(read_clock(CLOCK_REALTIME).count())};
}

DataPath::DataPath(Device& device) : device_(device), frame_(Tun::frame_limit) {}

void DataPath::use(Tun* tun, UdpSocket* v4, UdpSocket* v6) {
  tun_ = tun;
  sender_.v4 = v4;
  sender_.v6 = v6;
  coalescer_.emplace(tun && tun->splits_udp() ? Coalescer::Udp::together : Coalescer::Udp::separate);
}

bool DataPath::from_link() {
  if (!tun_) return false;
  Moment now = moment();
  int count = 0;
  while (count < frames_at_once) {
    size_t size = tun_->read(frame_);
    if (size < sizeof(VirtioHeader)) break;
    handle_frame({frame_.data(), size}, now);
    ++count;
  }
  if (count > 0) send_out(now);
  return count > 0;
}

void DataPath::handle_frame(std::span<const uint8_t> bytes, Moment now) {
  Frame frame = Tun::frame(bytes);
  Peer* peer = device_.route(frame.packet);
  if (!peer) return;
  if (Session* session = device_.session_for_sending(*peer, now))
    send_frame(*peer, *session, frame, now);
  else
    device_.hold(*peer, bytes);
}

void DataPath::send_frame(Peer& peer, Session& session, const Frame& frame, Moment now) {
  auto split = plan_split(frame.virtio, frame.packet);
  if (!split) {
    peer.drops.add(Drop::bad_packet);
    return;
  }
  size_t mtu = device_.table().mtu;
  uint64_t bytes = 0;
  for (size_t i = 0; i < split->count; ++i) {
    uint8_t* message = sender_.room(data_header_size + split->headers + split->segment + padding + tag_size);
    size_t size = write_segment(*split, frame.packet, i, message + data_header_size);
    // Padded to 16, but not beyond what fits into the path.
    size_t padded = std::max(size, std::min((size + padding - 1) / padding * padding, mtu));
    std::memset(message + data_header_size + size, 0, padded - size);
    size_t whole = session.seal(message, padded);
    sender_.commit(*peer.endpoint, whole);
    bytes += whole;
  }
  device_.sent_data(peer, session, bytes, now);
}

bool DataPath::from_socket(UdpSocket& socket) {
  std::span<Arrival> arrivals = socket.receive();
  if (arrivals.empty()) return false;
  Moment now = moment();
  for (Arrival& arrival : arrivals)
    for (size_t at = 0; at < arrival.bytes.size(); at += arrival.segment) {
      std::span<uint8_t> message =
          arrival.bytes.subspan(at, std::min(arrival.segment, arrival.bytes.size() - at));
      if (message.size() >= 4 && load32(message.data()) == static_cast<uint32_t>(MessageType::data)) {
        if (auto delivery = device_.receive_data(message, arrival.from, now))
          coalescer_->add(delivery->packet);
      } else {
        device_.receive_message(message, arrival.from, now);
      }
    }
  for (size_t i = 0; i < coalescer_->size(); ++i)
    if (!tun_ || !tun_->write(coalescer_->frame(i))) device_.drops.add(Drop::link_failed);
  coalescer_->clear();
  device_.work_handshakes(handshakes_at_once, now);
  send_out(now);
  return true;
}

void DataPath::work() {
  Moment now = moment();
  device_.work_handshakes(handshakes_at_once, now);
  device_.run_timers(now);
  send_out(now);
}

void DataPath::send_outbox() {
  for (const Datagram& datagram : device_.outbox) {
    uint8_t* room = sender_.room(datagram.bytes.size());
    std::memcpy(room, datagram.bytes.data(), datagram.bytes.size());
    sender_.commit(datagram.to, datagram.bytes.size());
  }
  device_.outbox.clear();
}

void DataPath::send_out(Moment now) {
  send_outbox();
  for (Peer* peer : std::exchange(device_.ready, {}))
    while (!peer->waiting.empty()) {
      Session* session = device_.session_for_sending(*peer, now);
      if (!session) break;
      std::vector<uint8_t> frame = device_.take_waiting(*peer);
      send_frame(*peer, *session, Tun::frame(frame), now);
    }
  send_outbox();
  if (size_t lost = sender_.flush()) device_.drops.add(Drop::send_failed, lost);
}

}  // namespace rayctl::wg
