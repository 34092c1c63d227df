// A payload as the one part of a multipart/form-data body (RFC 7578).

/// What stands around the payload of an org that wants a form: one part named `json`.
struct MultipartForm: Sendable {
    let contentType: String
    private let head: [UInt8]
    private let tail: [UInt8]

    init() {
        // 128 random bits: no payload holds them by chance, and its publisher cannot know them.
        let random = (0..<4).map { _ in String(UInt32.random(in: .min ... .max), radix: 36) }.joined(separator: "-")
        let boundary = "route-worker-\(random)"
        contentType = "multipart/form-data; boundary=\(boundary)"
        head = Array(
            "--\(boundary)\r\nContent-Disposition: form-data; name=\"json\"\r\nContent-Type: application/json\r\n\r\n"
                .utf8)
        tail = Array("\r\n--\(boundary)--\r\n".utf8)
    }

    func body(around payload: [UInt8]) -> [UInt8] {
        var body: [UInt8] = []
        body.reserveCapacity(head.count + payload.count + tail.count)
        body += head
        body += payload
        body += tail
        return body
    }
}
