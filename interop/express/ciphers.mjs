// The two encryptions of connect-mongo, written a second time from their formats, so that neither side can flatter itself.

import { createCipheriv, createDecipheriv, createHmac, pbkdf2Sync, randomBytes } from "node:crypto";

const GCM = "aes-256-gcm";
const keys = new Map();

function once(name, make) {
  if (!keys.has(name)) keys.set(name, make());
  return keys.get(name);
}

/** base64 of iv (12), ciphertext, tag (16). */
function webcrypto({ secret }) {
  const salt = "connect-mongo:webcrypto-default-salt";
  const key = once(`web ${secret}`, () => pbkdf2Sync(secret, salt, 310_000, 32, "sha256"));
  return {
    seal(text) {
      const iv = randomBytes(12);
      const sealing = createCipheriv(GCM, key, iv);
      return Buffer.concat([iv, sealing.update(text), sealing.final(), sealing.getAuthTag()]).toString("base64");
    },
    open(sealed) {
      const bytes = Buffer.from(sealed, "base64");
      const opening = createDecipheriv(GCM, key, bytes.subarray(0, 12)).setAuthTag(bytes.subarray(-16));
      return Buffer.concat([opening.update(bytes.subarray(12, -16)), opening.final()]).toString();
    },
  };
}

function derLength(length) {
  if (length < 128) return [length];
  return length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255];
}

const der = (tag, bytes) => Buffer.concat([Buffer.from([tag, ...derLength(bytes.length)]), bytes]);

/** The content of the first element, and what follows it. */
function derRead(bytes) {
  const long = bytes[1] & 0x80 ? bytes[1] & 0x7f : 0;
  const length = long ? bytes.readUIntBE(2, long) : bytes[1];
  const start = 2 + long;
  return [bytes.subarray(start, start + length), bytes.subarray(start + length)];
}

/** base64 of a DER sequence: ciphertext, MAC, iv, salt, tag, additional data; the first two and the last as base64 texts. */
function kruptein({ secret }) {
  const keyOf = (salt) => pbkdf2Sync(secret, salt, 15_000, 32, "sha512");
  const mac = (key, text) => createHmac("sha512", key).update(text).digest("base64");
  return {
    seal(text) {
      const [salt, iv, aad] = [randomBytes(128), randomBytes(12), randomBytes(64)];
      const key = keyOf(salt);
      const sealing = createCipheriv(GCM, key, iv).setAAD(aad);
      const sealed = Buffer.concat([sealing.update(JSON.stringify(text)), sealing.final()]).toString("base64");
      const parts = [Buffer.from(sealed), Buffer.from(mac(key, sealed)), iv, salt, sealing.getAuthTag(), Buffer.from(aad.toString("base64"))];
      return der(0x30, Buffer.concat(parts.map((part) => der(0x04, part)))).toString("base64");
    },
    open(sealed) {
      let [rest] = derRead(Buffer.from(sealed, "base64"));
      const parts = [];
      while (rest.length > 0) {
        const [part, more] = derRead(rest);
        parts.push(part);
        rest = more;
      }
      const [text, signature, iv, salt, tag, aad] = parts;
      const key = keyOf(salt);
      if (mac(key, text.toString()) !== signature.toString()) throw new Error("the MAC does not match");
      const opening = createDecipheriv(GCM, key, iv).setAuthTag(tag).setAAD(Buffer.from(aad.toString(), "base64"));
      return JSON.parse(Buffer.concat([opening.update(Buffer.from(text.toString(), "base64")), opening.final()]).toString());
    },
  };
}

/** What the store's texts are encrypted with; `undefined`: nothing. */
export function cipher(store) {
  if (store.webcrypto) return webcrypto(store.webcrypto);
  return store.crypto && kruptein(store.crypto);
}
