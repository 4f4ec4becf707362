// Why a song has no answer, and what to do about it, in people's words.

const ANEW = "Play it to the end in another program. If that works, save it there as WAV or FLAC and add that; if not, copy or download it again.";
const AGAIN = "Add it again.";
const asks = (option) => `Whoever runs the server can allow more with ${option}.`;

const REASONS = {
  empty: ["The file is empty.", "Copy or download it again."],
  not_audio: ["This is not a sound file that can be read.",
    `Add the song as MP3, FLAC, WAV, Ogg, Opus or M4A. If it should be one: ${ANEW.charAt(0).toLowerCase()}${ANEW.slice(1)}`],
  no_audio_stream: ["There is no sound in this file.", "It may be a picture or a silent film. Add the song itself."],
  unreadable: ["The sound in this file is damaged.", ANEW],
  no_samples: ["There is no sound in this file.", ANEW],
  no_rate: ["The file does not say how fast its sound is.", ANEW],
  bad_rate: ["The file says something impossible about its sound.", ANEW],
  bad_samples: ["The sound in this file is damaged.", ANEW],
  worker_died: ["This file stopped the program that read it.", ANEW],
  too_long: ["The recording is too long.", `Add a part of it. ${asks("--max-hours")}`],
  too_large: ["The file is too large.", `Add it as MP3 or Opus, or a part of it. ${asks("--max-megabytes")}`],
  too_slow: ["It took too long.", `${AGAIN} If it happens once more, add a part of it. ${asks("--max-seconds")}`],
  too_slow_upload: ["The file came too slowly.", `${AGAIN} A better connection to the server helps.`],
  unreachable: ["The server cannot be reached, or the file was moved.",
    "See that the server still runs and the file is still there, then add it again."],
  stopping: ["The server was stopped.", "Start it, and add the song again."],
  no_answer: ["The model has no answer for this song.", "Its sound is unlike anything that the model can compute with. Listen to it: it may be damaged."],
};
const UNKNOWN = ["Something went wrong.", `${AGAIN} If it happens once more, the log of the server says more.`];

export const explain = (reason) => REASONS[reason] ?? UNKNOWN;
