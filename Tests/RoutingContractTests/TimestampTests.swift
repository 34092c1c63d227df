// Timestamps as text.

import Foundation
import Testing

@testable import RoutingContract

@Suite struct TimestampTests {
    @Test(arguments: [
        ("1970-01-01T00:00:00Z", 0), ("1970-01-01T00:00:00.001Z", 1), ("1969-12-31T23:59:59.999Z", -1),
        ("2026-03-01T12:00:00+01:30", 1_772_361_000_000), ("2026-03-01T12:00:00-00:00", 1_772_366_400_000),
        ("2026-03-01t12:00:00z", 1_772_366_400_000), ("2026-03-01 12:00:00.5Z", 1_772_366_400_500),
        ("2026-03-01T12:00:00.123456789Z", 1_772_366_400_123), ("2024-02-29T00:00:00Z", 1_709_164_800_000),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000), ("0000-01-01T00:00:00Z", -62_167_219_200_000),
        ("0000-02-29T00:00:00Z", -62_162_121_600_000), ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
    ])
    func reads(_ text: String, _ milliseconds: Int64) {
        #expect(Timestamp(rfc3339: text) == Timestamp(milliseconds: milliseconds))
    }

    @Test(arguments: [
        "", "2026", "2026-03-01", "2026-03-01T12:00:00", "2026-03-01T12:00Z", "2026-13-01T12:00:00Z",
        "2026-00-01T12:00:00Z",
        "2026-02-29T12:00:00Z", "1900-02-29T12:00:00Z", "2026-04-31T12:00:00Z", "2026-03-00T12:00:00Z",
        "2026-03-01T24:00:00Z",
        "2026-03-01T12:60:00Z", "2026-03-01T12:00:61Z", "2026-03-01T12:00:00.Z", "2026-03-01T12:00:00+24:00",
        "2026-03-01T12:00:00+0100", "2026-03-01T12:00:00+01:60", "2026-03-01T12:00:00ZZ", " 2026-03-01T12:00:00Z",
        "2026-03-01X12:00:00Z", "+026-03-01T12:00:00Z", "２026-03-01T12:00:00Z", "1772366400",
    ])
    func refuses(_ text: String) {
        #expect(Timestamp(rfc3339: text) == nil)
    }

    @Test func writesWhatItReads() {
        var generator = SeededGenerator()
        for _ in 0..<20_000 {
            let time = Timestamp(milliseconds: Int64.random(in: Timestamp.writable, using: &generator))
            #expect(Timestamp(rfc3339: time.rfc3339) == time, "seed \(generator.seed): \(time.milliseconds)")
        }
    }

    @Test func writesAsFoundationDoes() {
        var generator = SeededGenerator()
        let style = Date.ISO8601FormatStyle(includingFractionalSeconds: true)
        for _ in 0..<2000 {
            // Foundation counts years before 1582 in another calendar.
            let seconds = Int64.random(in: -12_000_000_000...253_402_300_799, using: &generator)
            let expected = Date(timeIntervalSince1970: Double(seconds)).formatted(style)
            #expect(Timestamp(milliseconds: seconds * 1000).rfc3339 == expected, "seed \(generator.seed): \(seconds)")
        }
    }

    @Test func staysInsideWhatCanBeWritten() {
        #expect(Timestamp(milliseconds: .min).rfc3339 == "0000-01-01T00:00:00.000Z")
        #expect(Timestamp(milliseconds: .max).rfc3339 == "9999-12-31T23:59:59.999Z")
        #expect(Timestamp(milliseconds: .min).amqp == 0)
        #expect(Timestamp(milliseconds: 1999).amqp == 1)
    }

    @Test func recognisesMillisecondsInTheProperty() {
        #expect(Timestamp(amqp: 1_772_366_400) == Timestamp(milliseconds: 1_772_366_400_000))
        #expect(Timestamp(amqp: 1_772_366_400_123) == Timestamp(milliseconds: 1_772_366_400_123))
        #expect(Timestamp(amqp: .max) == Timestamp(milliseconds: .max))
    }

    @Test func survivesAnyText() {
        var generator = SeededGenerator()
        for _ in 0..<5000 {
            var bytes = Array("2026-03-01T12:00:00.123+01:30".utf8)
            mutate(&bytes, using: &generator)
            if let time = Timestamp(rfc3339: String(decoding: bytes, as: UTF8.self)) {
                #expect(Timestamp(rfc3339: time.rfc3339) == time, "seed \(generator.seed): \(bytes)")
            }
        }
    }
}
