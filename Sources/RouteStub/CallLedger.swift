// Which RequestId was called how often, and when.

import Foundation
import NIOCore
import RoutingContract

/// Two words instead of sixteen bytes, which would be hashed one by one.
struct CallKey: Hashable {
    var high: UInt64
    var low: UInt64

    init(_ id: RequestID) {
        let words = unsafeBitCast(id.bytes, to: SIMD2<UInt64>.self)
        (high, low) = (words[0], words[1])
    }
}

/// Counts calls.
struct CallLedger {
    struct Call {
        var count: UInt32 = 0
        var arrivedAt: UInt64 = 0
        var answeredAt: UInt64 = 0
    }

    private(set) var requests = 0
    private var calls: [CallKey: Call] = [:]

    mutating func arrived(_ key: CallKey) {
        requests += 1
        calls[key, default: Call()].count += 1
        calls[key]!.arrivedAt = Self.now
    }

    mutating func answered(_ key: CallKey) {
        calls[key]?.answeredAt = Self.now
    }

    var summary: String {
        let repeated = calls.values.count { $0.count > 1 }
        return #"{"requests": \#(requests), "distinct": \#(calls.count), "repeated": \#(repeated)}"#
    }

    /// Everything, 36 bytes a RequestId.
    func write(to buffer: inout ByteBuffer) {
        buffer.reserveCapacity(buffer.readableBytes + calls.count * 36)
        for (key, call) in calls {
            // The words are the UUID's bytes as they lie in memory.
            withUnsafeBytes(of: SIMD2(key.high, key.low)) { _ = buffer.writeBytes($0) }
            buffer.writeInteger(call.count, endianness: .little)
            buffer.writeInteger(call.arrivedAt, endianness: .little)
            buffer.writeInteger(call.answeredAt, endianness: .little)
        }
    }

    /// The clock that all processes of a machine share.
    private static var now: UInt64 { clock_gettime_nsec(CLOCK_MONOTONIC) }
}

private func clock_gettime_nsec(_ clock: clockid_t) -> UInt64 {
    var time = timespec()
    clock_gettime(clock, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}
