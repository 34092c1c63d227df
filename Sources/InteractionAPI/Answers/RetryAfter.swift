// `Retry-After` in all its forms, bounded.

import RoutingContract

/// Reads the `Retry-After` header (RFC 9110 §10.2.3).
enum RetryAfter {
    /// A server that asks for more is answered with this much patience.
    static let longest = Duration.seconds(300)

    /// Seconds, or an HTTP date in any of its three forms (§5.6.7); never negative, at most ``longest``. `nil` for
    /// anything else.
    static func parse(_ text: String, now: Timestamp) -> Duration? {
        let text = text.trimmed
        if !text.isEmpty, text.utf8.allSatisfy(\.isDigit) {
            // More digits than an Int holds are still a wish for much.
            return min(Int(text).map { .seconds(min($0, 1_000_000)) } ?? longest, longest)
        }
        guard let date = date(text, now: now) else { return nil }
        return min(max(date - now, .zero), longest)
    }

    /// An HTTP date in any of its three forms.
    static func date(_ text: Substring, now: Timestamp) -> Timestamp? {
        let fields = text.split(whereSeparator: { $0 == " " || $0 == "-" }).map {
            $0.hasSuffix(",") ? $0.dropLast() : $0
        }
        guard let weekday = fields.first, weekdays.contains(weekday.prefix(3).lowercased()) else { return nil }
        switch fields.count {
        case 6 where fields[5] == "GMT":
            // IMF-fixdate `Sun, 06 Nov 1994 08:49:37 GMT`, or RFC 850 `Sunday, 06-Nov-94 08:49:37 GMT`.
            return timestamp(day: fields[1], month: fields[2], year: fields[3], time: fields[4], now: now)
        case 5:
            // asctime `Sun Nov  6 08:49:37 1994`.
            return timestamp(day: fields[2], month: fields[1], year: fields[4], time: fields[3], now: now)
        default:
            return nil
        }
    }

    private static func timestamp(
        day: Substring, month: Substring, year: Substring, time: Substring, now: Timestamp
    ) -> Timestamp? {
        let clock = time.split(separator: ":", omittingEmptySubsequences: false).map { digits($0, 2...2) }
        guard let day = digits(day, 1...2), 1...31 ~= day, let month = months.firstIndex(of: month.lowercased()),
            clock.count == 3, let hour = clock[0], let minute = clock[1], let second = clock[2], hour < 24, minute < 60,
            second <= 60
        else { return nil }
        func at(_ year: Int) -> Timestamp {
            let seconds = daysSince1970(year, month + 1, day) * 86_400 + hour * 3600 + minute * 60 + second
            return Timestamp(milliseconds: Int64(seconds) * 1000)
        }
        if let year = digits(year, 4...4) { return at(year) }
        guard let short = digits(year, 2...2) else { return nil }
        // RFC 9110 §5.6.7: a two-digit year that seems more than 50 years ahead is the last such year in the past.
        let ahead = at(2000 + short)
        return ahead - now > .seconds(50 * 31_556_952) ? at(1900 + short) : ahead
    }

    /// Days from 1970-01-01 in the proleptic Gregorian calendar; years count from March, so that leap days come last.
    private static func daysSince1970(_ year: Int, _ month: Int, _ day: Int) -> Int {
        let marchYear = month > 2 ? year : year - 1
        let dayOfYear = (153 * ((month + 9) % 12) + 2) / 5 + day - 1
        return 365 * marchYear + marchYear / 4 - marchYear / 100 + marchYear / 400 + dayOfYear - 719_468
    }

    private static func digits(_ text: Substring, _ count: ClosedRange<Int>) -> Int? {
        count ~= text.utf8.count && text.utf8.allSatisfy(\.isDigit) ? Int(text) : nil
    }

    private static let weekdays: Set<String> = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    private static let months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
}
