// Fault rules out of a text: JSON, or shorthands, one a line. A misspelt member is an error, not a fault of no effect.

import Foundation
import RoutingContract

extension Fault {
    /// Reads fault rules: a JSON object, a JSON array of them, or shorthands, one a line (see ``init(shorthand:)``).
    ///
    /// Whether a rule from JSON makes sense in itself is judged when it is added to a sandbox.
    public static func parse(_ text: String) throws(InvalidFault) -> [Fault] {
        let text = text.trimmed
        guard text.hasPrefix("{") || text.hasPrefix("[") else { return try shorthands(text) }
        let bytes = Array(text.utf8)
        do {
            // JSONDecoder silently takes one of two members with the same key.
            _ = try JSONScanner().scan(bytes)
            return try text.hasPrefix("[")
                ? JSONDecoder().decode([Fault].self, from: Data(bytes))
                : [JSONDecoder().decode(Fault.self, from: Data(bytes))]
        } catch let error as JSONError {
            throw InvalidFault("not valid JSON: \(error)")
        } catch let DecodingError.keyNotFound(key, _) {
            throw InvalidFault("\(key.stringValue) is missing")
        } catch let DecodingError.typeMismatch(_, context), let DecodingError.dataCorrupted(context) {
            let path = (context.codingPath.map(\.stringValue) + [context.debugDescription])
            throw InvalidFault(path.joined(separator: ": "))
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
}

extension Decoder {
    /// Refuses an object that has a member which `Name` does not know.
    func refuseMembers<Name: CodingKey & CaseIterable>(notIn _: Name.Type) throws {
        let known = Name.allCases.map(\.stringValue)
        let names = try container(keyedBy: AnyName.self).allKeys.map(\.stringValue)
        guard let unknown = names.filter({ !known.contains($0) }).min() else { return }
        throw DecodingError.dataCorrupted(
            DecodingError.Context(
                codingPath: codingPath,
                debugDescription: "\(unknown) is unknown; known are \(known.joined(separator: ", "))"))
    }
}

private struct AnyName: CodingKey {
    var stringValue: String
    var intValue: Int? { nil }

    init(stringValue: String) {
        self.stringValue = stringValue
    }

    init?(intValue: Int) { nil }
}
