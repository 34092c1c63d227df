// A JSON document that was scanned: its canonical form, and its outer members to be looked up.

/// A valid JSON document. A class, so that the values looked up in it share it at the cost of one reference.
public final class JSONDocument: Sendable {
    /// Members of objects are noted down to this depth; those further inside are validated, but not to be looked up.
    public static let notedDepth = 3

    /// One member of an object, by its place in the source.
    struct Member: Sendable {
        /// Index of the object that it is a member of; -1 for the root.
        var parent: Int32
        /// Between the quotes.
        var keyStart: Int32
        var keyEnd: Int32
        var valueStart: Int32
        var valueEnd: Int32 = 0
        var kind = JSONValue.Kind.null
        var keyIsEscaped = false
        var valueIsEscaped = false

        init(parent: Int32, keyStart: Int32, keyEnd: Int32, valueStart: Int32) {
            self.parent = parent
            self.keyStart = keyStart
            self.keyEnd = keyEnd
            self.valueStart = valueStart
        }
    }

    /// The bytes as they came.
    public let source: [UInt8]
    /// The one spelling of this value: no white space, keys sorted by their bytes, each character and number spelled
    /// in one way. Two documents are the same value exactly when their canonical forms are equal (but see `JSONNumber`).
    /// Texts are compared without Unicode normalisation.
    public let canonical: [UInt8]
    /// In the order of the source.
    let members: [Member]
    private let rootMember: Member
    /// See ``JSONScan/work``.
    let work: Int

    init(source: [UInt8], canonical: [UInt8], root: Member, members: [Member], work: Int) {
        self.source = source
        self.canonical = canonical
        self.rootMember = root
        self.members = members
        self.work = work
    }

    /// The whole document.
    public var root: JSONValue { JSONValue(document: self, index: -1, member: rootMember) }

    func text(from start: Int32, to end: Int32, isEscaped: Bool) -> String {
        source.withUnsafeBufferPointer {
            JSONString.decode(UnsafeBufferPointer(rebasing: $0[Int(start)..<Int(end)]), isEscaped: isEscaped)
        }
    }
}

/// One value of a document.
public struct JSONValue: Sendable {
    public enum Kind: UInt8, Sendable, Hashable { case object, array, string, number, boolean, null }

    private let document: JSONDocument
    private let index: Int
    private let member: JSONDocument.Member

    init(document: JSONDocument, index: Int, member: JSONDocument.Member) {
        self.document = document
        self.index = index
        self.member = member
    }

    public var kind: Kind { member.kind }

    /// `nil` for JSON's null, which is how many serialisers write an absent field.
    public var unlessNull: JSONValue? { kind == .null ? nil : self }

    /// Where its bytes stand in ``JSONDocument/source``, quotes included.
    public var range: Range<Int> { Int(member.valueStart)..<Int(member.valueEnd) }

    /// The bytes as they came.
    public var bytes: ArraySlice<UInt8> { document.source[range] }

    /// Its text, if it is a string.
    public var string: String? {
        guard kind == .string else { return nil }
        return document.text(
            from: member.valueStart + 1, to: member.valueEnd - 1, isEscaped: member.valueIsEscaped)
    }

    /// Whether it is a string that is not empty; makes no text to find out.
    var isNonEmptyString: Bool { kind == .string && range.count > 2 }

    public var boolean: Bool? {
        guard kind == .boolean else { return nil }
        return document.source[Int(member.valueStart)] == UInt8(ascii: "t")
    }

    /// Its value, if it is a number written without fraction and exponent that fits.
    public var integer: Int? {
        guard kind == .number else { return nil }
        return Int(String(decoding: bytes, as: UTF8.self))
    }

    /// The member of this name, if this is an object (at most ``JSONDocument/notedDepth`` deep) that has one.
    public subscript(_ name: StaticString) -> JSONValue? {
        firstMember { document, member, _ in
            guard !member.keyIsEscaped else {
                return document.text(from: member.keyStart, to: member.keyEnd, isEscaped: true) == "\(name)"
            }
            guard Int(member.keyEnd - member.keyStart) == name.utf8CodeUnitCount else { return false }
            return name.withUTF8Buffer { name in
                document.source.withUnsafeBufferPointer {
                    $0[Int(member.keyStart)..<Int(member.keyEnd)].elementsEqual(name)
                }
            }
        }
    }

    /// Calls `body` for each member of this object, in the order of the source, until it returns `false`.
    public func forEachMember(_ body: (String, JSONValue) -> Bool) {
        _ = firstMember { document, member, index in
            let name = document.text(from: member.keyStart, to: member.keyEnd, isEscaped: member.keyIsEscaped)
            return !body(name, JSONValue(document: document, index: index, member: member))
        }
    }

    private func firstMember(where matches: (JSONDocument, JSONDocument.Member, Int) -> Bool) -> JSONValue? {
        guard kind == .object else { return nil }
        var position = index + 1
        // Everything inside this value follows it without a gap.
        while position < document.members.count, document.members[position].valueStart < member.valueEnd {
            let candidate = document.members[position]
            if Int(candidate.parent) == index, matches(document, candidate, position) {
                return JSONValue(document: document, index: position, member: candidate)
            }
            position += 1
        }
        return nil
    }
}
