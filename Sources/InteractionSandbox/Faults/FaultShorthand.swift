// Faults in a word, for flags and curl: `503@2%`, `reset-after@x3`, `latency=50-200`.

extension Fault {
    /// Reads `what[@rate]`.
    ///
    /// - `what`: an HTTP status (`503`), an API code with the status that the sandbox gives it (`10019`), both
    ///   (`503:20004`), `500-after` for any status after the effect, `latency=50` or `latency=50-200` (ms),
    ///   `reset`, `reset-after`, `close`, `close-after`, `hang`, `hang-after`, `slow-body`, `cut-body`, `not-json`,
    ///   `empty-body`, `failure` or `failure:10024`.
    /// - `rate`: `2%` or `0.5%` of the requests, or `x3` for the next three. None is every request.
    public init(shorthand: String) throws(InvalidFault) {
        let parts = shorthand.split(separator: "@", omittingEmptySubsequences: false).map { $0.trimmed }
        guard parts.count <= 2, let what = parts.first, !what.isEmpty else {
            throw InvalidFault("\(shorthand): a fault is written what@rate, for example 503@2%")
        }
        self = try Self.action(what)
        if parts.count == 2 { try setRate(parts[1]) }
        try FaultRules.check(self)
    }

    private mutating func setRate(_ rate: String) throws(InvalidFault) {
        if rate.hasSuffix("%"), let percent = Double(rate.dropLast()) {
            probability = percent / 100
        } else if rate.hasPrefix("x"), let count = Int(rate.dropFirst()) {
            next = count
        } else {
            throw InvalidFault("\(rate): a rate is written 2% or x3")
        }
    }

    private static func action(_ what: String) throws(InvalidFault) -> Fault {
        if what.hasPrefix("latency=") {
            let bounds = what.dropFirst("latency=".count).split(separator: "-", omittingEmptySubsequences: false)
                .map { Int($0) }
            guard bounds.count <= 2, let least = bounds[0], let most = bounds[bounds.count - 1], least <= most, most > 0
            else { throw unknown(what) }
            var fault = Fault(.latency)
            fault.latencyMilliseconds = least
            fault.latencyMaximumMilliseconds = most
            return fault
        }
        let isAfter = what.hasSuffix("-after")
        let word = isAfter ? String(what.dropLast("-after".count)) : what
        let fields = word.split(separator: ":").map(String.init)
        let code = fields.count == 2 ? Int(fields[1]) : nil
        guard let name = fields.first, fields.count == 1 || code != nil else { throw unknown(what) }
        let effect: Effect? = isAfter ? .atOnce : nil
        if let number = Int(name) {
            return number < 1000
                ? Fault(.status, status: number, code: code, effect: effect)
                : Fault(.status, code: number, effect: effect)
        }
        guard let action = Action(rawValue: name), action != .status, action != .latency,
            code == nil || action == .failure
        else { throw unknown(what) }
        return Fault(action, code: code, effect: effect)
    }

    private static func unknown(_ what: String) -> InvalidFault {
        InvalidFault(
            """
            \(what) is no fault; known are a status (503), a code (10019), both (503:20004), latency=50, latency=50-200, \
            reset, close, hang, slow-body, cut-body, not-json, empty-body, failure and failure:10024, \
            some with -after (reset-after), all with a rate (503@2%, hang@x3)
            """)
    }
}
