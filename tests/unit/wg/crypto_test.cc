#include "wg/crypto.h"

#include "base/error.h"
#include "unit/wg/vectors.h"

using namespace rayctl;
using namespace rayctl::wg;

TEST_CASE("hash, MAC and key derivation are those of the vectors", "[wg]") {
  CHECK(to_hex(blake2s(raw("abc"))) ==
        "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982");  // RFC 7693
  CHECK(to_hex(blake2s(raw("a"), raw("bc"))) == to_hex(vector_of("hash.abc")));
  CHECK(to_hex(keyed_blake2s(raw("key"), raw("abc"))) == to_hex(vector_of("mac.abc")));
  Secret first, second, third;
  derive(fixed_secret("key"), raw("input"), &first, &second, &third);
  CHECK(to_hex(first.bytes) == to_hex(vector_of("kdf.1")));
  CHECK(to_hex(second.bytes) == to_hex(vector_of("kdf.2")));
  CHECK(to_hex(third.bytes) == to_hex(vector_of("kdf.3")));
  Secret key = fixed_secret("key");
  derive(key, raw("input"), &key);  // in place
  CHECK(key == first);
}

TEST_CASE("X25519 agrees with RFC 7748 and refuses small orders", "[wg]") {
  Secret alice, bob;
  // section 5.2, first vector: a scalar and a point
  Secret scalar;
  scalar.bytes = array_of<32>(from_hex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"));
  PublicKey point =
      array_of<32>(from_hex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c"));
  auto shared = DhKey(scalar).agree(point);
  REQUIRE(shared);
  CHECK(to_hex(shared->bytes) == "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
  bob = new_private_key();
  CHECK((bob.bytes[0] & 7) == 0);
  CHECK((bob.bytes[31] & 0xc0) == 0x40);
  alice = new_private_key();
  CHECK(*DhKey(alice).agree(DhKey(bob).public_key()) == *DhKey(bob).agree(DhKey(alice).public_key()));
  CHECK_FALSE(DhKey(bob).agree(PublicKey{}));
  PublicKey one = {1};
  CHECK_FALSE(DhKey(bob).agree(one));
}

TEST_CASE("XChaCha20-Poly1305 agrees with its draft", "[wg]") {
  // draft-irtf-cfrg-xchacha-03, sections 2.2.1 and A.3.1
  Secret key;
  for (size_t i = 0; i < 32; ++i) key.bytes[i] = static_cast<uint8_t>(i);
  auto input = array_of<16>(from_hex("000000090000004a0000000031415927"));
  CHECK(to_hex(hchacha20(key, input).bytes) ==
        "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc");
  CHECK(to_hex(hchacha20(key, input).bytes) == to_hex(vector_of("hchacha")));
  for (size_t i = 0; i < 32; ++i) key.bytes[i] = static_cast<uint8_t>(0x80 + i);
  auto nonce = array_of<24>(from_hex("404142434445464748494a4b4c4d4e4f5051525354555657"));
  Raw additional = from_hex("50515253c0c1c2c3c4c5c6c7");
  Raw text =
      raw("Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
          "sunscreen would be it.");
  Raw sealed = text;
  sealed.resize(text.size() + tag_size);
  xchacha_seal(key, nonce, sealed.data(), text.size(), additional);
  CHECK(to_hex(ByteView(sealed).first(16)) == "bd6d179d3e83d43b9576579493c0e939");
  CHECK(to_hex(ByteView(sealed).last(16)) == "c0875924c1c7987947deafd8780acf49");
  REQUIRE(xchacha_open(key, nonce, sealed.data(), text.size(), additional));
  CHECK(Raw(sealed.begin(), sealed.end() - 16) == text);
}

TEST_CASE("an AEAD opens what it sealed, and nothing else", "[wg]") {
  for (Cipher cipher : {Cipher::chacha20poly1305, Cipher::aes256gcm}) {
    Secret key = fixed_secret("aead");
    Aead sealer(cipher, Aead::Use::seal, key), opener(cipher, Aead::Use::open, key);
    for (size_t size : {0, 1, 16, 1420, 65535}) {
      Raw plain(size, 0x5a), data = plain;
      data.resize(size + tag_size);
      sealer.seal(size, data.data(), size);
      Raw copy = data;
      CHECK(opener.open(size, copy.data(), size));
      copy.resize(size);
      CHECK(copy == plain);
      copy = data;
      CHECK_FALSE(opener.open(size + 1, copy.data(), size));  // another nonce
      copy = data;
      copy[size / 2] ^= 1;
      CHECK_FALSE(opener.open(size, copy.data(), size));
      copy = data;
      CHECK(opener.open(size, copy.data(), size));  // a forgery before it does no harm
    }
  }
}

TEST_CASE("keys are 44 characters of base64", "[wg]") {
  PublicKey key = DhKey(fixed_secret("initiator")).public_key();
  CHECK(parse_public_key(key_text(key), "key") == key);
  for (const char* bad :
       {"", "AAAA", "not base64 at all", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="})
    CHECK_THROWS_WITH(parse_public_key(bad, "key of x"),
                      "cannot use the key of x: it is not 32 bytes in base64 (44 characters)");
  CHECK(parse_cipher("aes256gcm") == Cipher::aes256gcm);
  CHECK_THROWS_WITH(parse_cipher("des"), "cannot use cipher 'des': there are chacha20poly1305 and aes256gcm");
}
