// Why bytes are not the JSON that this project accepts.

/// What is wrong with a document, and where.
public struct JSONError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The raw value completes the sentence "not accepted as JSON: …".
    public enum Problem: String, Sendable, Hashable {
        case empty = "the document is empty"
        case byteOrderMark = "the document starts with a byte order mark; leave it out"
        case endsEarly = "the document ends in the middle of a value"
        case valueExpected = "a value is expected"
        case keyExpected = "a key in double quotes is expected"
        case colonExpected = "a colon is expected after the key"
        case objectSeparatorExpected = "a comma or a closing brace is expected"
        case arraySeparatorExpected = "a comma or a closing bracket is expected"
        case endExpected = "something follows the end of the value"
        case malformedNumber = "a number is malformed"
        case controlCharacter = "a control character in a string must be escaped"
        case malformedEscape = "an escape in a string is malformed"
        case loneSurrogate = "an escaped surrogate has no partner"
        case malformedUTF8 = "the bytes are not valid UTF-8"
        case duplicateKey = "a key stands twice in one object"
        case tooDeep = "arrays and objects are nested too deep"
        case tooLong = "the document is too long"
    }

    public var problem: Problem
    /// Bytes from the start of the document.
    public var offset: Int

    public init(_ problem: Problem, at offset: Int) {
        self.problem = problem
        self.offset = offset
    }

    public var description: String { "\(problem.rawValue) (at byte \(offset))" }
}
