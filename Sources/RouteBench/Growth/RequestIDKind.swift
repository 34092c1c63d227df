// How platforms make RequestIds: it decides which pages of a store's index they are written to.

import ArgumentParser
import RoutingContract

/// A way of making RequestIds (RFC 9562).
enum RequestIDKind: String, CaseIterable, Codable, ExpressibleByArgument, Sendable {
    /// Version 4: each falls on another page.
    case random
    /// Version 7, which begins with the time: those of a while fall on the same pages.
    case time

    /// - Parameters:
    ///   - number: another for each RequestId.
    ///   - now: when it is made.
    func requestID(_ number: UInt64, at now: Timestamp) -> RequestID {
        var generator = SeededGenerator(seed: number &* 0x9E37_79B9_7F4A_7C15)
        let random = RequestID.random(using: &generator)
        guard self == .time else { return random }
        var bytes = random.bytes
        for index in 0..<6 { bytes[index] = UInt8(truncatingIfNeeded: now.milliseconds >> (40 - 8 * index)) }
        bytes[6] = bytes[6] & 0x0F | 0x70
        return RequestID(bytes: bytes)
    }
}
