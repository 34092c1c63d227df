// Timestamps as text (RFC 3339), read and written without Foundation: this runs for every command.

extension Timestamp {
    /// 0000-01-01T00:00:00.000Z and 9999-12-31T23:59:59.999Z: what RFC 3339 can write.
    static let writable: ClosedRange<Int64> = -62_167_219_200_000...253_402_300_799_999

    /// Reads an RFC 3339 date and time (§5.6). Letter case does not count and a space may stand for the `T`; of the
    /// fraction the first three digits count; a leap second is read as the second after it. `nil` for anything else,
    /// impossible dates among it.
    public init?(rfc3339 text: some StringProtocol) {
        var reader = DigitReader(text.utf8)
        guard let year = reader.digits(4), reader.skip("-"), let month = reader.digits(2), reader.skip("-"),
            let day = reader.digits(2), reader.skip("T") || reader.skip("t") || reader.skip(" "),
            let hour = reader.digits(2), reader.skip(":"), let minute = reader.digits(2), reader.skip(":"),
            let second = reader.digits(2)
        else { return nil }
        guard (1...12).contains(month), day >= 1, day <= CalendarDay.daysInMonth(month, year: year),
            hour < 24, minute < 60, second <= 60
        else { return nil }

        var milliseconds = 0
        if reader.skip(".") {
            var weight = 100
            guard let first = reader.digits(1) else { return nil }
            milliseconds = first * weight
            while let digit = reader.digits(1) {
                weight /= 10
                milliseconds += digit * weight
            }
        }
        var offset = 0
        if !(reader.skip("Z") || reader.skip("z")) {
            let isWest = reader.skip("-")
            guard isWest || reader.skip("+"), let hours = reader.digits(2), reader.skip(":"),
                let minutes = reader.digits(2), hours < 24, minutes < 60
            else { return nil }
            offset = (hours * 60 + minutes) * (isWest ? -1 : 1)
        }
        guard reader.isAtEnd else { return nil }
        let days = CalendarDay.number(year: year, month: month, day: day)
        let seconds = ((days * 24 + hour) * 60 + minute - offset) * 60 + second
        self.init(milliseconds: Int64(seconds * 1000 + milliseconds))
    }

    /// UTC with milliseconds, as in `2026-03-01T12:00:00.000Z`. Moments outside the years 0000 to 9999 are written as
    /// the nearest that can be.
    public var rfc3339: String {
        let clamped = min(max(milliseconds, Self.writable.lowerBound), Self.writable.upperBound)
        var days = Int(clamped / 86_400_000)
        var rest = Int(clamped % 86_400_000)
        if rest < 0 {
            days -= 1
            rest += 86_400_000
        }
        let date = CalendarDay.date(of: days)
        return String(unsafeUninitializedCapacity: 24) { buffer in
            var position = 0
            func write(_ value: Int, digits: Int, then mark: Unicode.Scalar) {
                var value = UInt32(truncatingIfNeeded: value)
                var index = position + digits
                buffer[index] = UInt8(ascii: mark)
                while index > position {
                    index -= 1
                    buffer[index] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: value % 10)
                    value /= 10
                }
                position += digits + 1
            }
            write(date.year, digits: 4, then: "-")
            write(date.month, digits: 2, then: "-")
            write(date.day, digits: 2, then: "T")
            write(rest / 3_600_000, digits: 2, then: ":")
            write(rest / 60_000 % 60, digits: 2, then: ":")
            write(rest / 1000 % 60, digits: 2, then: ".")
            write(rest % 1000, digits: 3, then: "Z")
            return position
        }
    }

    /// Reads what the headers `IssuedAt` and `Deadline` may hold: RFC 3339, or milliseconds since 1970 in digits.
    init?(headerText text: String) {
        if let milliseconds = Int64(text) {
            self.init(milliseconds: milliseconds)
        } else {
            self.init(rfc3339: text)
        }
    }

    /// Reads AMQP's timestamp: seconds by the specification. From 10¹¹ on (the year 5138) it can only be the
    /// milliseconds that some publishers send.
    init(amqp value: UInt64) {
        let milliseconds = Int64(clamping: value)
        self.init(milliseconds: milliseconds < 100_000_000_000 ? milliseconds * 1000 : milliseconds)
    }

    /// For AMQP's `timestamp` property: whole seconds, none before 1970.
    public var amqp: UInt64 { UInt64(clamping: milliseconds / 1000) }
}

/// Takes digits and marks off the front of a text.
private struct DigitReader<Text: Sequence<UInt8>> {
    private var iterator: Text.Iterator
    private var next: UInt8?

    init(_ text: Text) {
        iterator = text.makeIterator()
        next = iterator.next()
    }

    var isAtEnd: Bool { next == nil }

    mutating func skip(_ mark: Unicode.Scalar) -> Bool {
        guard next == UInt8(ascii: mark) else { return false }
        next = iterator.next()
        return true
    }

    /// Exactly `count` digits. `nil` leaves the reader anywhere.
    mutating func digits(_ count: Int) -> Int? {
        var value = 0
        for _ in 0..<count {
            guard let byte = next, byte &- UInt8(ascii: "0") < 10 else { return nil }
            value = value * 10 + Int(byte - UInt8(ascii: "0"))
            next = iterator.next()
        }
        return value
    }
}

/// Days of the proleptic Gregorian calendar, counted from 1970-01-01. A year is taken to start in March, which puts
/// the leap day last, and 400 years are one cycle of 146,097 days.
private enum CalendarDay {
    static func daysInMonth(_ month: Int, year: Int) -> Int {
        switch month {
        case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }

    static func number(year: Int, month: Int, day: Int) -> Int {
        // 400 years on, so that the year 0 divides like any other.
        let marchYear = year + 400 - (month <= 2 ? 1 : 0)
        let monthFromMarch = (month + 9) % 12
        let dayOfYear = (153 * monthFromMarch + 2) / 5 + day - 1
        return marchYear * 365 + marchYear / 4 - marchYear / 100 + marchYear / 400 + dayOfYear - 719_468 - 146_097
    }

    static func date(of number: Int) -> (year: Int, month: Int, day: Int) {
        let shifted = number + 719_468 + 146_097
        let (cycle, dayOfCycle) = shifted.quotientAndRemainder(dividingBy: 146_097)
        let yearOfCycle = (dayOfCycle - dayOfCycle / 1460 + dayOfCycle / 36_524 - dayOfCycle / 146_096) / 365
        let dayOfYear = dayOfCycle - (365 * yearOfCycle + yearOfCycle / 4 - yearOfCycle / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        let year = cycle * 400 + yearOfCycle - 400 + (month <= 2 ? 1 : 0)
        return (year, month, dayOfYear - (153 * monthFromMarch + 2) / 5 + 1)
    }
}
