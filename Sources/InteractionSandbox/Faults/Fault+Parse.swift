// Fault rules out of a text: JSON, or shorthands, one a line. A misspelt member is an error, not a fault of no effect.

import Foundation

extension Fault {
    /// Reads fault rules: a JSON object, a JSON array of them, or shorthands, one a line (see ``init(shorthand:)``).
    ///
    /// Whether a rule from JSON makes sense in itself is judged when it is added to a sandbox.
    public static func parse(_ text: String) throws(InvalidFault) -> [Fault] {
        let bytes = Array(text.utf8)
        let text = text.trimmed
        guard text.hasPrefix("{") || text.hasPrefix("[") else { return try shorthands(text) }
        let values: [JSONValue]
        do {
            let value = try JSONReader.read(bytes)
            if case .array(let elements) = value { values = elements } else { values = [value] }
        } catch {
            throw InvalidFault("not valid JSON: \(error.reason) at byte \(error.offset)")
        }
        for value in values { try checkNames(value) }
        do {
            return try text.hasPrefix("[")
                ? JSONDecoder().decode([Fault].self, from: Data(bytes))
                : [JSONDecoder().decode(Fault.self, from: Data(bytes))]
        } catch let DecodingError.keyNotFound(key, _) {
            throw InvalidFault("\(key.stringValue) is missing")
        } catch let DecodingError.typeMismatch(_, context), let DecodingError.dataCorrupted(context) {
            throw InvalidFault(
                "\(context.codingPath.map(\.stringValue).joined(separator: ".")): \(context.debugDescription)")
        } catch {
            throw InvalidFault("\(error)")
        }
    }

    private static func shorthands(_ text: String) throws(InvalidFault) -> [Fault] {
        var faults: [Fault] = []
        for line in text.split(whereSeparator: \.isNewline) where !line.trimmed.isEmpty {
            faults.append(try Fault(shorthand: line.trimmed))
        }
        guard !faults.isEmpty else { throw InvalidFault("no fault is given") }
        return faults
    }

    private static func checkNames(_ value: JSONValue) throws(InvalidFault) {
        guard case .object(let members) = value else { throw InvalidFault("a fault is a JSON object") }
        try checkNames(members, known: CodingKeys.allCases.map(\.rawValue))
        if case .object(let match) = members["match"] {
            try checkNames(match, known: Match.CodingKeys.allCases.map(\.rawValue))
        }
    }

    private static func checkNames(_ members: [String: JSONValue], known: [String]) throws(InvalidFault) {
        for name in members.keys.sorted() where !known.contains(name) {
            throw InvalidFault("\(name) is unknown; known are \(known.joined(separator: ", "))")
        }
    }
}
