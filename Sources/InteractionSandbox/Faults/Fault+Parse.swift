// Fault rules out of a text: JSON, or shorthands, one a line. A misspelt member is an error, not a fault of no effect.

extension Fault {
    /// Reads fault rules: a JSON object, a JSON array of them, or shorthands, one a line (see ``init(shorthand:)``).
    ///
    /// Whether a rule from JSON makes sense in itself is judged when it is added to a sandbox.
    public static func parse(_ text: String) throws(InvalidFault) -> [Fault] {
        let text = text.trimmed
        do {
            if text.hasPrefix("[") { return try StrictJSON.decode([Fault].self, from: text) }
            if text.hasPrefix("{") { return [try StrictJSON.decode(Fault.self, from: text)] }
        } catch {
            throw InvalidFault(error.description)
        }
        var faults: [Fault] = []
        for line in text.split(whereSeparator: \.isNewline) where !line.trimmed.isEmpty {
            faults.append(try Fault(shorthand: line.trimmed))
        }
        guard !faults.isEmpty else { throw InvalidFault("no fault is given") }
        return faults
    }
}
