// The file as a tree: reads YAML from people who make mistakes and from people who mean harm.

import Foundation
import Yams

/// Reads the text of a settings file into a tree with places. Anchors and aliases are refused, since a few lines of
/// them can stand for gigabytes; size is bounded; nesting is bounded by libyaml (1000).
struct SettingsDocument {
    /// Bytes: some thousands of orgs.
    static let maximumSize = 1 << 20
    /// A file with more duplicate keys than this is not searched further: each costs another pass.
    private static let maximumDuplicates = 20
    /// U+FEFF, with which some editors of Windows begin a file.
    private static let byteOrderMark: [UInt8] = [0xEF, 0xBB, 0xBF]

    let name: String
    /// The root mapping; `nil` where there is none that can be read.
    private(set) var root: Node.Mapping?
    /// Keys that stand twice in their mapping: what the reader finds instead of the first one, and its name. Yams ends
    /// at a duplicate, so the first is renamed for it, in place and to the same length.
    private(set) var duplicates: [String: String] = [:]

    /// Reads the file at `path`, whose name stands in messages as it was given.
    ///
    /// - Parameter limit: one byte more than this is read at most.
    static func bytes(
        of path: String, limit: Int = Self.maximumSize, _ problems: inout ProblemList
    ) -> [UInt8]? {
        let place = SettingsPlace.file(path, line: 1, column: 1)
        guard let handle = FileHandle(forReadingAtPath: path) else {
            problems.add(
                place, [], "cannot be opened (\(String(cString: strerror(errno)))), check path and permissions")
            return nil
        }
        defer { try? handle.close() }
        do {
            return Array(try handle.read(upToCount: limit + 1) ?? Data())
        } catch {
            problems.add(place, [], "cannot be read, check that it is a file and not a folder")
            return nil
        }
    }

    init(_ bytes: [UInt8], name: String, limit: Int = Self.maximumSize, _ problems: inout ProblemList) {
        self.name = name
        guard bytes.count <= limit else {
            problems.add(place(1, 1), [], "is larger than \(Units.sizeText(limit)), make it smaller")
            return
        }
        // Passed over here: the parser counts it as a column, which indents the first key.
        let content = bytes.starts(with: Self.byteOrderMark) ? bytes.dropFirst(Self.byteOrderMark.count) : bytes[...]
        guard let text = String(validating: content, as: UTF8.self) else {
            let line = 1 + Self.validPrefix(bytes).count { $0 == UInt8(ascii: "\n") }
            problems.add(place(line, 1), [], "is not UTF-8 here, save the file as UTF-8")
            return
        }
        let anchors = Self.anchors(in: text)
        guard anchors.isEmpty else {
            for (line, column) in anchors.prefix(10) {
                problems.add(
                    place(line, column), [], "anchors and aliases are not supported, write the value out each time")
            }
            return
        }
        compose(text, &problems)
    }

    func place(_ line: Int, _ column: Int) -> SettingsPlace { .file(name, line: line, column: column) }

    func place(of node: Node) -> SettingsPlace { place(node.mark?.line ?? 1, node.mark?.column ?? 1) }

    private mutating func compose(_ original: String, _ problems: inout ProblemList) {
        var text = original
        while true {
            do {
                // Without a resolver every scalar stays text: the keys' own forms decide. The encoding is named so
                // that an environment variable of the library's cannot choose another.
                let parser = try Parser(yaml: text, resolver: .basic, encoding: .utf8)
                guard let node = try parser.singleRoot(), !node.isNothing else {
                    problems.add(place(1, 1), [], "is empty, write at least orgs: (see the example)")
                    return
                }
                guard case .mapping(let mapping) = node else {
                    problems.add(place(of: node), [], "is not a mapping, write sections such as worker: and orgs:")
                    return
                }
                root = mapping
                return
            } catch YamlError.duplicatedKeysInMapping(let names, let context) {
                let key = names.first ?? ""
                let stand = Unicode.Scalar(UInt32(0xE000 + duplicates.count)) ?? "\u{E000}"
                guard duplicates.count < Self.maximumDuplicates,
                    let (renamed, standIn) = Self.renaming(key, at: context.mark, to: stand, in: text)
                else {
                    problems.add(
                        place(context.mark.line, context.mark.column), [key],
                        "stands more than once in its mapping, keep one")
                    return
                }
                duplicates[standIn] = key
                text = renamed
            } catch {
                let (line, column, reason) = Self.explain(error, text)
                problems.add(place(line, column), [], reason)
                return
            }
        }
    }

    /// Replaces the first scalar of a plain or simply quoted key by one of the private use area. Places stay as they are.
    private static func renaming(
        _ key: String, at mark: Mark, to stand: Unicode.Scalar, in text: String
    ) -> (text: String, key: String)? {
        guard var index = self.index(of: mark, in: text) else { return nil }
        var scalars = text.unicodeScalars
        if scalars[index] == "\"" || scalars[index] == "'" { index = scalars.index(after: index) }
        guard let first = key.unicodeScalars.first, index < scalars.endIndex, scalars[index] == first else {
            return nil
        }
        scalars.replaceSubrange(index...index, with: [stand])
        return (String(scalars), String(stand) + String(key.unicodeScalars.dropFirst()))
    }

    /// Lines and columns as libyaml counts them: by Unicode scalars, with all of YAML 1.1's line breaks.
    private static func index(of mark: Mark, in text: String) -> String.Index? {
        let scalars = text.unicodeScalars
        var (line, column, index) = (1, 1, scalars.startIndex)
        while index < scalars.endIndex {
            if line == mark.line, column == mark.column { return index }
            let scalar = scalars[index]
            index = scalars.index(after: index)
            switch scalar {
            case "\r" where index < scalars.endIndex && scalars[index] == "\n": continue
            case "\n", "\r", "\u{85}", "\u{2028}", "\u{2029}": (line, column) = (line + 1, 1)
            default: column += 1
            }
        }
        return nil
    }

    /// Places where an anchor could be defined: an `&` before a name and after nothing that would make it part of a
    /// word. It may find one in a quoted text, never miss one; without an anchor no alias can be used.
    static func anchors(in text: String) -> [(line: Int, column: Int)] {
        var found: [(Int, Int)] = []
        var (line, column) = (1, 0)
        var previous: Unicode.Scalar = "\n"
        var isComment = false
        var isAtStart = true
        let scalars = text.unicodeScalars
        var index = scalars.startIndex
        while index < scalars.endIndex {
            let scalar = scalars[index]
            index = scalars.index(after: index)
            column += 1
            if scalar == "\n" || scalar == "\r" {
                (line, column, isComment, isAtStart) = (scalar == "\n" ? line + 1 : line, 0, false, true)
            } else if isAtStart, scalar == "#" {
                isComment = true
            } else if scalar != " " {
                isAtStart = false
            }
            if scalar == "&", !isComment, !previous.properties.isAlphabetic, previous.properties.numericType == nil,
                index < scalars.endIndex, !scalars[index].properties.isWhitespace
            {
                found.append((line, column))
            }
            previous = scalar
        }
        return found
    }

    private static func validPrefix(_ bytes: [UInt8]) -> ArraySlice<UInt8> {
        var decoder = UTF8()
        var iterator = bytes.makeIterator()
        var count = 0
        while case .scalarValue(let scalar) = decoder.decode(&iterator) { count += UTF8.width(scalar) }
        return bytes[..<count]
    }

    /// libyaml's words for a syntax error, without the snippet of the file that Yams would add: it may hold a password.
    private static func explain(_ error: any Error, _ text: String) -> (line: Int, column: Int, reason: String) {
        switch error {
        case YamlError.scanner(_, let problem, let mark, _), YamlError.parser(_, let problem, let mark, _):
            if let index = index(of: mark, in: text), text[index] == "\t" {
                return (mark.line, mark.column, "is a tab, indent with spaces")
            }
            return (
                mark.line, mark.column,
                "is not YAML here (\(problem)), check indentation, colons and quotes in this line and the one before"
            )
        case YamlError.composer(_, "but found another document", let mark, _):
            return (mark.line, mark.column, "starts a second document here, keep one and remove the ---")
        case YamlError.composer(_, "found undefined alias", let mark, _):
            let reason = "is read as an alias (*name), which is not supported, put a value that starts with * in quotes"
            return (mark.line, mark.column, reason)
        case YamlError.composer(_, let problem, let mark, _):
            return (mark.line, mark.column, "is not YAML here (\(problem)), check this line")
        case YamlError.reader(let problem, let offset, _, _):
            let before = text.prefix(offset ?? 0)
            return (1 + before.count(where: \.isNewline), 1, "cannot be read here (\(problem)), remove the character")
        default:
            return (1, 1, "is not YAML, check it with a YAML linter")
        }
    }
}

extension Node {
    /// Whether it is an empty value: nothing after the colon, `~` or `null`, not in quotes.
    var isNothing: Bool {
        guard case .scalar(let scalar) = self, scalar.style == .plain || scalar.style == .any else { return false }
        return ["", "~", "null", "Null", "NULL"].contains(scalar.string)
    }
}
