// The bytes in which a store keeps a result: compact, and told apart by a version.

public import RoutingContract

/// Writes and reads results as bytes.
///
/// Format 1: the byte 1; the outcome; flags for what is present; then, in the order written below, integers as
/// zigzag LEB128 and strings as a length and UTF-8. A new field needs a new format, which earlier versions refuse.
public enum ResultCodec {
    private static let format: UInt8 = 1

    private struct Flags: OptionSet {
        var rawValue: UInt8
        static let httpStatus = Flags(rawValue: 1)
        static let response = Flags(rawValue: 2)
        static let error = Flags(rawValue: 4)
        static let errorCode = Flags(rawValue: 8)
        static let all: Flags = [.httpStatus, .response, .error, .errorCode]
    }

    public static func encode(_ result: CommandResult) -> [UInt8] {
        var flags: Flags = []
        if result.httpStatus != nil { flags.insert(.httpStatus) }
        if result.response != nil { flags.insert(.response) }
        if result.error != nil { flags.insert(.error) }
        if result.error?.code != nil { flags.insert(.errorCode) }

        var bytes: [UInt8] = []
        bytes.reserveCapacity(64 + (result.response?.bytes.count ?? 0))
        bytes.append(format)
        bytes.append(result.outcome.code)
        bytes.append(flags.rawValue)
        bytes.write(Int64(result.attempts))
        bytes.write(result.receivedAt.milliseconds)
        bytes.write(result.completedAt.milliseconds)
        bytes.write(result.worker)
        if let status = result.httpStatus { bytes.write(Int64(status)) }
        if let error = result.error {
            if let code = error.code { bytes.write(Int64(code)) }
            bytes.write(error.reason)
            bytes.write(error.message)
        }
        if let response = result.response {
            bytes.write(counted: response.bytes)
        }
        return bytes
    }

    /// - Throws: ``StoreError/unusable(_:)`` for bytes of another format or cut short. Never traps.
    public static func decode(_ bytes: [UInt8]) throws(StoreError) -> CommandResult {
        guard let found = bytes.first else { throw .unusable("a recorded result is empty") }
        guard found == format else {
            throw .unusable(
                "a recorded result has format \(found), this version reads format \(format): run a newer version")
        }
        var reader = ByteReader(bytes.dropFirst())
        guard let result = readFields(&reader) else { throw .unusable("a recorded result is damaged") }
        return result
    }

    private static func readFields(_ reader: inout ByteReader) -> CommandResult? {
        guard let outcome = reader.readByte().flatMap(Outcome.init(code:)),
            let flags = reader.readByte().map(Flags.init(rawValue:)), flags.isSubset(of: .all),
            let attempts = reader.readInt(), let receivedAt = reader.readInteger(),
            let completedAt = reader.readInteger(), let worker = reader.readString()
        else { return nil }
        var result = CommandResult(
            outcome: outcome, attempts: attempts, receivedAt: Timestamp(milliseconds: receivedAt),
            completedAt: Timestamp(milliseconds: completedAt), worker: worker)
        if flags.contains(.httpStatus) {
            guard let status = reader.readInt() else { return nil }
            result.httpStatus = status
        }
        if flags.contains(.error) {
            var code: Int?
            if flags.contains(.errorCode) {
                guard let value = reader.readInt() else { return nil }
                code = value
            }
            guard let reason = reader.readString(), let message = reader.readString() else { return nil }
            result.error = CommandError(code: code, message: message, reason: reason)
        }
        if flags.contains(.response) {
            guard let response = reader.readBytes() else { return nil }
            result.response = APIResponse(Array(response))
        }
        return reader.isAtEnd ? result : nil
    }
}

extension Outcome {
    /// The byte that stands for it in databases: never renumber.
    var code: UInt8 {
        switch self {
        case .succeeded: 1
        case .rejected: 2
        case .invalid: 3
        case .conflict: 4
        case .expired: 5
        case .superseded: 6
        case .exhausted: 7
        case .unknown: 8
        }
    }

    init?(code: UInt8) {
        guard let outcome = Outcome.allCases.first(where: { $0.code == code }) else { return nil }
        self = outcome
    }
}
