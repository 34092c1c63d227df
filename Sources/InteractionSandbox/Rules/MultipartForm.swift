// The one form part named `json` out of a multipart/form-data body (RFC 7578).

enum MultipartForm {
    /// The media type of a Content-Type value in lower case, and its parameter `name`.
    static func mediaType(_ value: String, parameter name: String) -> (type: String, parameter: String?) {
        let fields = value.split(separator: ";").map { $0.trimmed }
        let parameter = fields.dropFirst().lazy.compactMap { field -> String? in
            guard let equals = field.firstIndex(of: "="), field[..<equals].lowercased() == name else { return nil }
            let value = field[field.index(after: equals)...]
            return value.count >= 2 && value.hasPrefix("\"") && value.hasSuffix("\"")
                ? String(value.dropFirst().dropLast()) : String(value)
        }.first
        return (fields.first?.lowercased() ?? "", parameter)
    }

    /// The content of the part `json`, or what is wrong with the form.
    static func jsonPart(of body: [UInt8], boundary: String) -> Result<[UInt8], FormProblem> {
        let delimiter = Array("--\(boundary)".utf8)
        guard !boundary.isEmpty, boundary.utf8.count <= 70 else {
            return .failure("the boundary is missing or too long")
        }
        guard var position = end(of: delimiter, in: body, from: 0), position == delimiter.count else {
            return .failure("the body does not start with the boundary")
        }
        var found: [UInt8]?
        while !body[position...].starts(with: "--".utf8) {
            guard body[position...].starts(with: "\r\n".utf8) else { return .failure("a boundary without a line end") }
            guard let partEnd = end(of: Array("\r\n".utf8) + delimiter, in: body, from: position) else {
                return .failure("the closing boundary is missing")
            }
            // The delimiter's own line end also ends the header block of a part without headers.
            let part = Array(body[position..<(partEnd - delimiter.count - 2)])
            guard let contentStart = end(of: Array("\r\n\r\n".utf8), in: part, from: 0) else {
                return .failure("a part without headers")
            }
            let headers = String(decoding: part[..<contentStart], as: UTF8.self)
            if let problem = problem(ofHeaders: headers) { return .failure(problem) }
            guard found == nil else { return .failure("more than one part") }
            found = Array(part[contentStart...])
            position = partEnd
        }
        return found.map { .success($0) } ?? .failure("the part named json is missing")
    }

    private static func problem(ofHeaders headers: String) -> FormProblem? {
        var name: String?
        var type: String?
        for line in headers.split(whereSeparator: \.isNewline) {
            guard let colon = line.firstIndex(of: ":") else { return "a part header without a colon" }
            let value = String(line[line.index(after: colon)...])
            switch line[..<colon].trimmed.lowercased() {
            case "content-disposition": name = mediaType(value, parameter: "name").parameter
            case "content-type": type = mediaType(value, parameter: "charset").type
            default: break
            }
        }
        guard name == "json" else { return "a part that is not named json" }
        guard type == "application/json" else { return "the part json is not of type application/json" }
        return nil
    }

    /// Where the first `needle` at or after `start` ends.
    private static func end(of needle: [UInt8], in body: [UInt8], from start: Int) -> Int? {
        guard body.count >= needle.count, start <= body.count - needle.count else { return nil }
        for index in start...(body.count - needle.count)
        where body[index] == needle[0] && body[index..<index + needle.count].elementsEqual(needle) {
            return index + needle.count
        }
        return nil
    }
}

/// What is wrong with a form, in words.
struct FormProblem: Error, Equatable, ExpressibleByStringLiteral {
    var reason: String

    init(stringLiteral reason: String) {
        self.reason = reason
    }
}

extension StringProtocol {
    /// Without white space at either end.
    var trimmed: String {
        var text = self[...]
        while text.first?.isWhitespace == true { text = text.dropFirst() }
        while text.last?.isWhitespace == true { text = text.dropLast() }
        return String(text)
    }
}
