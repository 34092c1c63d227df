// What people write for the sandbox as JSON, decoded so that a slip of the pen is an error that says where.

import Foundation
import RoutingContract

enum StrictJSON {
    /// Why a text is not what it should be, in words.
    struct Problem: Error {
        var description: String
    }

    static func decode<Value: Decodable>(_: Value.Type, from text: String) throws(Problem) -> Value {
        do {
            // JSONDecoder silently takes one of two members with the same key.
            _ = try JSONScanner().scan(Array(text.utf8))
            return try JSONDecoder().decode(Value.self, from: Data(text.utf8))
        } catch let error as JSONError {
            throw Problem(description: "not valid JSON: \(error)")
        } catch let DecodingError.keyNotFound(key, context) {
            throw Problem(context.codingPath, "\(key.stringValue) is missing")
        } catch let DecodingError.typeMismatch(_, context), let DecodingError.valueNotFound(_, context),
            let DecodingError.dataCorrupted(context)
        {
            throw Problem(context.codingPath, context.debugDescription)
        } catch {
            throw Problem(description: "\(error)")
        }
    }
}

extension StrictJSON.Problem {
    fileprivate init(_ path: [any CodingKey], _ words: String) {
        description = (path.map(\.stringValue) + [words]).joined(separator: ": ")
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

extension KeyedDecodingContainer {
    /// One of the texts that `Choice` knows, or `nil` where the member is absent.
    func choice<Choice: RawRepresentable<String> & CaseIterable>(_: Choice.Type, _ key: Key) throws -> Choice? {
        guard let text = try decodeIfPresent(String.self, forKey: key) else { return nil }
        guard let choice = Choice(rawValue: text) else {
            let known = Choice.allCases.map(\.rawValue).joined(separator: ", ")
            throw DecodingError.dataCorruptedError(
                forKey: key, in: self, debugDescription: "\(text) is unknown; known are \(known)")
        }
        return choice
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
