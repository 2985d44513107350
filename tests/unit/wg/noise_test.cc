#include "wg/noise.h"

#include "unit/wg/vectors.h"
#include "wg/session.h"

using namespace rayctl;
using namespace rayctl::wg;

namespace {

struct Pair {
  DhKey initiator{fixed_secret("initiator")}, responder{fixed_secret("responder")};
  PeerKeys to_responder, to_initiator;
  Secret static_static = *initiator.agree(responder.public_key());

  explicit Pair(Cipher cipher)
      : to_responder{responder.public_key(), fixed_secret("preshared"), cipher},
        to_initiator{initiator.public_key(), fixed_secret("preshared"), cipher} {}
};

constexpr uint64_t then = 1700000000ULL * 1000000000 + 0x3b000000;
constexpr std::pair<Cipher, const char*> both[] = {{Cipher::chacha20poly1305, "chacha."},
                                                   {Cipher::aes256gcm, "aes."}};

}  // namespace

TEST_CASE("a handshake is byte for byte that of the vectors, in both constructions", "[wg]") {
  for (auto [cipher, prefix] : both) {
    Pair pair(cipher);
    auto vector = [prefix = std::string(prefix)](const char* name) { return vector_of(prefix + name); };
    InitiatorState state;
    auto initiation = make_initiation(pair.initiator, pair.static_static, pair.to_responder,
                                      fixed_secret("ephemeral i"), tai64n(then), 0x11223344, state);
    REQUIRE(initiation);
    size_t body = initiation_size - macs_size;
    CHECK(to_hex(ByteView(*initiation).first(body)) == to_hex(ByteView(vector("initiation")).first(body)));

    Initiation received = array_of<initiation_size>(vector("initiation"));
    auto shared = initiation_shared(pair.responder, received);
    REQUIRE(shared);
    auto opened = open_initiation(pair.responder, cipher, *shared, received);
    REQUIRE(opened);
    CHECK(opened->remote == pair.initiator.public_key());
    CHECK(opened->sender == 0x11223344);
    REQUIRE(verify_initiation(pair.static_static, received, *opened));
    CHECK(opened->timestamp == tai64n(then));
    // the other construction has another name in its hash
    Cipher other = cipher == Cipher::aes256gcm ? Cipher::chacha20poly1305 : Cipher::aes256gcm;
    CHECK_FALSE(open_initiation(pair.responder, other, *shared, received));

    SessionKeys keys;
    auto response = make_response(pair.to_initiator, *opened, fixed_secret("ephemeral r"), 0x55667788, keys);
    REQUIRE(response);
    body = response_size - macs_size;
    CHECK(to_hex(ByteView(*response).first(body)) == to_hex(ByteView(vector("response")).first(body)));
    CHECK(to_hex(keys.send.bytes) == to_hex(vector("responder_sends")));
    CHECK(to_hex(keys.receive.bytes) == to_hex(vector("initiator_sends")));

    auto ours =
        open_response(pair.initiator, pair.to_responder, state, array_of<response_size>(vector("response")));
    REQUIRE(ours);
    CHECK(ours->send == keys.receive);
    CHECK(ours->receive == keys.send);
    CHECK(ours->cipher == cipher);

    Session session(*ours, Role::initiator, 0x11223344, 0x55667788, Time{});
    for (uint64_t counter : {0ULL, 1ULL, 0x0102030405060708ULL}) {
      Raw message(data_header_size + 16 + tag_size);
      Raw text = raw("sixteen bytes...");
      std::copy(text.begin(), text.end(), message.begin() + data_header_size);
      session.next_counter = counter;
      CHECK(session.seal(message.data(), 16) == message.size());
      CHECK(to_hex(message) == to_hex(vector(("data" + std::to_string(counter)).c_str())));
    }
  }
}

TEST_CASE("no changed byte of a handshake passes", "[wg]") {
  Pair pair(Cipher::chacha20poly1305);
  const Initiation good = array_of<initiation_size>(vector_of("chacha.initiation"));
  for (size_t i = 8; i < initiation_size - macs_size; ++i) {
    Initiation bad = good;
    bad[i] ^= 0x10;
    auto shared = initiation_shared(pair.responder, bad);
    if (!shared) continue;
    auto opened = open_initiation(pair.responder, Cipher::chacha20poly1305, *shared, bad);
    CHECK_FALSE((opened && verify_initiation(pair.static_static, bad, *opened)));
  }
  InitiatorState state;
  make_initiation(pair.initiator, pair.static_static, pair.to_responder, fixed_secret("ephemeral i"),
                  tai64n(then), 0x11223344, state);
  for (size_t i = 12; i < response_size - macs_size; ++i) {
    Response bad = array_of<response_size>(vector_of("chacha.response"));
    bad[i] ^= 0x10;
    CHECK_FALSE(open_response(pair.initiator, pair.to_responder, state, bad));
  }
  PeerKeys other = pair.to_responder;
  other.preshared = {};
  CHECK_FALSE(
      open_response(pair.initiator, other, state, array_of<response_size>(vector_of("chacha.response"))));
}

TEST_CASE("a peer whose public key has a small order gets no handshake", "[wg]") {
  Pair pair(Cipher::chacha20poly1305);
  InitiatorState state;
  PeerKeys useless;
  CHECK_FALSE(make_initiation(pair.initiator, {}, useless, new_private_key(), {}, 1, state));
  Initiation zero = {};
  CHECK_FALSE(initiation_shared(pair.responder, zero));
}

TEST_CASE("TAI64N grows with time and hides 24 bits", "[wg]") {
  CHECK(to_hex(tai64n(0)) == "400000000000000a00000000");
  CHECK(tai64n(then - 0x1000000) == tai64n(then - 1));
  CHECK(tai64n(then) < tai64n(then + 0x1000000));
  uint64_t step = 1 << 24;
  for (uint64_t at = then; at < then + 3000000000; at += step) CHECK(tai64n(at) < tai64n(at + step));
}
